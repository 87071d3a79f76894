// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// subscribers returns how many connections each engine's publisher has.
func subscribers(engines []*enginesim.Engine) (all []int) {
	for _, e := range engines {
		all = append(all, e.Subscribers(0))
	}
	return all
}

// Reloads do not disturb subscriptions. A config with other options gets other
// subscriptions, and without the option they end.
func TestEventsThroughReloads(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200})
	events := harness.EventsOption(engines[0], 1)
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, events))
	rnd := rand.New(rand.NewPCG(1, 5))
	prompt := harness.Chat(harness.Words(rnd, 8000), false)
	g.PredictExactly(t, "a new prompt", prompt, 0)
	harness.AwaitQuiet(t, engines)
	was := [][]harness.PublisherReport{harness.Publishers(t, engines[0]), harness.Publishers(t, engines[1])}

	for i := range 3 {
		g.Reload(t, "caddyfile", harness.PolicySite(engines, events+fmt.Sprintf("\nradix_depth %d", 100+i)))
		g.PredictExactly(t, "the prompt after a reload", prompt, 1900)
	}
	harness.AwaitQuiet(t, engines)
	for i, e := range engines {
		now := harness.Publishers(t, e)
		if len(now) != 1 || now[0].Restarts != was[i][0].Restarts || now[0].Known != "complete" || e.Subscribers(0) != 1 {
			t.Errorf("reloads disturbed the subscription: before %+v, after %+v, %d subscribers", was[i], now, e.Subscribers(0))
		}
	}

	// Other weights keep the streams. Without replay there are other streams.
	g.Reload(t, "caddyfile", harness.PolicySite(engines, strings.Replace(events, "ranks 1", "tier_weight cpu 0.5", 1)))
	g.PredictExactly(t, "the prompt with other weights", prompt, 1900)
	for i, e := range engines {
		if now := harness.Publishers(t, e); len(now) != 1 || now[0].Restarts != was[i][0].Restarts {
			t.Errorf("other weights: before %+v, after %+v", was[i], now)
		}
	}
	g.Reload(t, "caddyfile", harness.PolicySite(engines, "events "+harness.UpstreamHost+harness.PortOf(engines[0].EventsAddr(0))))
	harness.Await(t, "only the new streams are there", func() bool {
		return fmt.Sprint(subscribers(engines)) == "[1 1]" && harness.EventsKnown(t, "partial", engines...)
	})

	// A config that is refused changes nothing.
	port := harness.PortOf(engines[0].EventsAddr(0))
	refused := fmt.Sprintf(":8080 {\nhandle /a/* {\n%s}\nhandle {\n%s}\n}", harness.PolicyRoute(engines, events), harness.PolicyRoute(engines, "events "+harness.UpstreamHost+port))
	err := caddy.Load(harness.Adapt(t, "caddyfile", refused), true)
	if err == nil || !strings.Contains(err.Error(), "two kv_aware policies follow the upstream "+engines[0].Addr()+" differently: give both the same events") &&
		!strings.Contains(err.Error(), "two kv_aware policies follow the upstream "+engines[1].Addr()+" differently: give both the same events") {
		t.Fatalf("two policies that follow upstreams differently: error %v", err)
	}
	if !harness.EventsKnown(t, "partial", engines...) {
		t.Errorf("after a config that was refused: %+v, %+v", harness.Publishers(t, engines[0]), harness.Publishers(t, engines[1]))
	}

	g.Reload(t, "caddyfile", harness.PolicySite(engines, ""))
	harness.Await(t, "no engine is followed any more", func() bool {
		return fmt.Sprint(subscribers(engines)) == "[0 0]" && harness.Publishers(t, engines[0]) == nil && harness.Publishers(t, engines[1]) == nil
	})
	if p := g.Predict(t, harness.ChatPath, prompt); p.Predicted < 1900 {
		t.Errorf("from own history %d tokens are predicted, %d are cached", p.Predicted, p.Reported)
	}

	g.Reload(t, "caddyfile", harness.PolicySite(engines, events))
	if ours() == "" {
		t.Fatal("no goroutine of ours is found: the search proves nothing")
	}
	harness.Await(t, "they are followed again", func() bool { return harness.EventsKnown(t, "complete", engines...) })
	g.PredictExactly(t, "the prompt by its history", prompt, 1900)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "no goroutine of ours runs any more", func() bool { return ours() == "" && fmt.Sprint(subscribers(engines)) == "[0 0]" })
}

// ours returns the stacks of the goroutines that run our code or were started by
// it.
func ours() string {
	all := make([]byte, 8<<20)
	var found []string
	for stack := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
		if strings.Contains(stack, "caddy-kvaware/kvaware") || strings.Contains(stack, "caddy-kvaware/janitor") {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}

// Validating a config binds no port and connects to no engine.
func TestEventsOfADryRun(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 1, enginesim.Config{})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for what, options := range map[string]string{
		"listen": "events listen tcp://" + taken.Addr().String(),
		"dial":   harness.EventsOption(engines[0], 1),
	} {
		var c caddy.Config
		if err := json.Unmarshal(harness.Adapt(t, "caddyfile", harness.PolicySite(engines, options)), &c); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&c); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := engines[0].Subscribers(0); n != 0 {
		t.Errorf("%d subscribers", n)
	}
	// Running it does, and here the port is taken.
	err = caddy.Load(harness.Adapt(t, "caddyfile", harness.PolicySite(engines, "events listen tcp://"+taken.Addr().String())), true)
	if err == nil || !strings.Contains(err.Error(), "events: cannot listen at this address") {
		t.Errorf("a port that is taken: error %v", err)
	}
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
}
