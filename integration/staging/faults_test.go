// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

// heldOptions returns options with which requests are held for up to 150 ms for
// their staging. The gateway expects a story of 4,000 tokens to cost more: 500 ms.
func heldOptions(cachePort string) string {
	return "capacity 16000\n" + harness.LMCacheOption + cachePort + " {\n wait 150ms\n }"
}

// begin begins conversations and moves their blocks to disk.
func begin(t *testing.T, g *harness.Gateway, nodes []harness.StagingNode, conversations int) {
	t.Helper()
	for i := range conversations {
		g.Must(t, harness.Ask("sim", harness.Story(fmt.Sprint("old", i)), false, 2))
	}
	for _, n := range nodes {
		n.Cache.EvictMemory()
		n.Engine.Reset()
	}
}

// TestStagingFaults: whatever LMCache or the engine's tokenizer does, every
// request is answered. Requests are held for a staging that hangs, and sent on
// while it still hangs.
func TestStagingFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	cases := []struct {
		name   string
		fault  lmcachesim.Fault
		engine enginesim.Fault
		absent bool
	}{
		{name: "hang", fault: lmcachesim.Fault{Kind: lmcachesim.Hang}},
		{name: "slow", fault: lmcachesim.Fault{Kind: lmcachesim.Delay, Delay: time.Minute}},
		{name: "lie", fault: lmcachesim.Fault{Kind: lmcachesim.Lie}},
		{name: "miscount", fault: lmcachesim.Fault{Kind: lmcachesim.Miscount}},
		{name: "forever", fault: lmcachesim.Fault{Kind: lmcachesim.Forever}},
		{name: "garbage", fault: lmcachesim.Fault{Kind: lmcachesim.Garbage}},
		{name: "huge", fault: lmcachesim.Fault{Kind: lmcachesim.Huge}},
		{name: "404", fault: lmcachesim.Fault{Kind: lmcachesim.Status, Status: 404}},
		{name: "500", fault: lmcachesim.Fault{Kind: lmcachesim.Status, Status: 500}},
		{name: "absent", absent: true},
		{name: "no tokens", engine: enginesim.Fault{Kind: enginesim.Status, Status: 404, Path: "/tokenize"}},
		{name: "tokens hang", engine: enginesim.Fault{Kind: enginesim.Hang, Path: "/tokenize"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			nodes, cachePort := harness.StartNodes(t, 1, harness.QuietNode, lmcachesim.NodeConfig{})
			g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, heldOptions(cachePort)))
			begin(t, g, nodes, 8)
			if c.fault.Kind != 0 {
				nodes[0].Cache.Fault(c.fault)
			}
			if c.engine.Kind != 0 {
				if err := nodes[0].Engine.Fault(c.engine); err != nil {
					t.Fatal(err)
				}
			}
			if c.absent {
				nodes[0].Cache.Close()
			}
			waits := harness.Metric(t, "caddy_kv_aware_staging_waits_total")
			for i := range 3 {
				g.Must(t, harness.Ask("sim", harness.Story(fmt.Sprint("old", i))+" And then?", false, 2))
			}
			if harness.Metric(t, "caddy_kv_aware_staging_waits_total") == waits {
				t.Error("no request was held: this proves nothing")
			}
		})
	}
}

// TestStagingInTime: a request that is held for its staging finds its blocks in CPU
// memory, so that the engine does not wait for the disk.
func TestStagingInTime(t *testing.T) {
	harness.Attempt(t, func(int) string {
		nodes, cachePort := harness.StartNodes(t, 1, harness.QuietNode, lmcachesim.NodeConfig{})
		g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, "capacity 16000\n"+harness.LMCacheOption+cachePort+" {\n wait "+longWait.String()+"\n }"))
		begin(t, g, nodes, 8)
		waits := harness.Metric(t, "caddy_kv_aware_staging_waits_total")
		inTime := notFromDisk(t, nodes, func() {
			g.Must(t, harness.Ask("sim", harness.Story("old0")+" And then?", false, 2))
		})
		switch {
		case harness.Metric(t, "caddy_kv_aware_staging_waits_total") == waits:
			return "the request was not held"
		case !inTime:
			return "the staging was not done in time"
		}
		return ""
	})
}

// TestStagingNotHeldForNothing: a request is not held when its prompt is new, is on
// the GPU, or is too short for a staging to gain anything.
func TestStagingNotHeldForNothing(t *testing.T) {
	nodes, cachePort := harness.StartNodes(t, 1, harness.QuietNode, lmcachesim.NodeConfig{})
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, heldOptions(cachePort)))
	nodes[0].Cache.Fault(lmcachesim.Fault{Kind: lmcachesim.Hang})
	before := harness.Metric(t, "caddy_kv_aware_staging_waits_total")
	g.Must(t, harness.Ask("sim", harness.Story("new"), false, 2))
	g.Must(t, harness.Ask("sim", harness.Story("new")+" And then?", false, 2))
	for i := range 20 { // together they push the first of them off the GPU
		g.Must(t, harness.Ask("sim", fmt.Sprint("Short ", i, strings.Repeat(" words", 100)), false, 2))
		g.Must(t, harness.Ask("sim", fmt.Sprint("Other ", i, strings.Repeat(" words", 900)), false, 2))
	}
	g.Must(t, harness.Ask("sim", fmt.Sprint("Short ", 0, strings.Repeat(" words", 100)), false, 2))
	if waits := harness.Metric(t, "caddy_kv_aware_staging_waits_total") - before; waits != 0 {
		t.Errorf("%v requests were held", waits)
	}
}

// TestStagingClientGone: a request whose client leaves while it is held is not
// held any longer, and does not reach the engine.
func TestStagingClientGone(t *testing.T) {
	nodes, cachePort := harness.StartNodes(t, 1, harness.QuietNode, lmcachesim.NodeConfig{})
	// The gateway expects 12,000 tokens to cost 1.5 s.
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, strings.Replace(heldOptions(cachePort), "150ms", "1s", 1)))
	long := harness.Story("left") + harness.Story("and") + harness.Story("gone")
	g.Must(t, harness.Ask("sim", long, false, 2))
	begin(t, g, nodes, 8)
	nodes[0].Cache.Fault(lmcachesim.Fault{Kind: lmcachesim.Hang})
	question := harness.Ask("sim", long+" And then?", false, 2)
	// The body is in flight while the request is held.
	inFlight, waits := harness.Metric(t, "caddy_pii_janitor_in_flight_bytes"), harness.Metric(t, "caddy_kv_aware_staging_waits_total")
	served := len(nodes[0].Engine.Served())
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+harness.ChatPath, strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	var client sync.WaitGroup
	client.Go(func() {
		if answer, err := g.Client.Do(r); err == nil {
			answer.Body.Close()
			t.Error("the request was answered: it was not held")
		}
	})
	harness.Await(t, "the request has come", func() bool {
		return harness.Metric(t, "caddy_pii_janitor_in_flight_bytes") >= inFlight+float64(len(question))
	})
	leave()
	client.Wait()
	harness.Await(t, "the request is not held any more", func() bool {
		return harness.Metric(t, "caddy_kv_aware_staging_waits_total") > waits && harness.Metric(t, "caddy_pii_janitor_in_flight_bytes") <= inFlight
	})
	if n := len(nodes[0].Engine.Served()) - served; n != 0 {
		t.Errorf("%d requests reached the engine", n)
	}
}

// TestStagingReload: reloads in the middle of stagings lose no request and leave no
// goroutine behind.
func TestStagingReload(t *testing.T) {
	nodes, cachePort := harness.StartNodes(t, 1, harness.QuietNode, lmcachesim.NodeConfig{})
	site := harness.StagingSite(nodes, heldOptions(cachePort))
	g := harness.StartGateway(t, "caddyfile", site)
	begin(t, g, nodes, 16)
	nodes[0].Cache.Fault(lmcachesim.Fault{Kind: lmcachesim.Hang})
	before := 0
	for round := range 4 {
		var group sync.WaitGroup
		var ended atomic.Int64
		url, bytes := g.URL, harness.Metric(t, "caddy_pii_janitor_in_flight_bytes")
		for i := range 4 {
			body := harness.Ask("sim", harness.Story(fmt.Sprint("old", round*4+i))+" And then?", false, 2)
			bytes += float64(len(body))
			group.Go(func() {
				defer ended.Add(1)
				harness.Answered(t, g.Client, url, body)
			})
		}
		harness.Await(t, "all requests have come, and are held", func() bool {
			return ended.Load() > 0 || harness.Metric(t, "caddy_pii_janitor_in_flight_bytes") >= bytes
		})
		g.Reload(t, "caddyfile", strings.Replace(site, "lb_policy", strings.Repeat(" ", round+1)+"lb_policy", 1)+strings.Repeat("\n", round))
		group.Wait()
		waits := harness.Metric(t, "caddy_kv_aware_staging_waits_total")
		if round == 0 && waits == 0 {
			t.Fatal("no request was held: this proves nothing")
		}
		g.Client.CloseIdleConnections()
		if round == 0 {
			before = stagers()
		}
	}
	harness.Await(t, "the goroutines of old configs end", func() bool { return stagers() <= before })
}

// stagers counts the goroutines that stage, look up or fetch tokens.
func stagers() (n int) {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, stack := range strings.Split(string(stacks), "\n\n") {
		if strings.Contains(stack, "internal/lmcache") || strings.Contains(stack, "internal/tokenize") || strings.Contains(stack, "(*warmer)") {
			n++
		}
	}
	return n
}

// TestStagingLeaksNothing: no output shows a prompt while it is staged or looked up,
// also when that fails, and LMCache gets the tokens of the scrubbed prompt only.
func TestStagingLeaksNothing(t *testing.T) {
	harness.Log.Reset()
	nodes, cachePort := harness.StartNodes(t, 1, harness.QuietNode, lmcachesim.NodeConfig{})
	g := harness.StartGateway(t, "caddyfile", "{\n debug\n}\n"+harness.StagingSite(nodes, heldOptions(cachePort)))
	secret := harness.Story("old0") + harness.PlantedText()
	g.Must(t, harness.Ask("sim", secret, false, 2))
	harness.Attempt(t, func(int) string {
		begin(t, g, nodes, 8)
		g.Must(t, harness.Ask("sim", secret+" And then?", false, 2))
		if !harness.Soon(func() bool {
			return harness.ResultMetric(t, "caddy_kv_aware_staging_total", "completed") > 0
		}) {
			return "nothing was staged"
		}
		return ""
	})
	for _, r := range nodes[0].Cache.Received() {
		for kind, value := range harness.Planted {
			if strings.Contains(string(r.Body), value) {
				t.Errorf("LMCache got the %s", kind)
			}
		}
	}
	nodes[0].Cache.Fault(lmcachesim.Fault{Kind: lmcachesim.Garbage})
	begin(t, g, nodes, 8)
	g.Must(t, harness.Ask("sim", secret+" And then? And after that?", false, 2))
	for _, r := range nodes[0].Engine.Received() {
		for kind, value := range harness.Planted {
			if strings.Contains(string(r.Body), value) {
				t.Errorf("the engine got the %[2]s at %[1]s", r.Path, kind)
			}
		}
	}
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(harness.Registry(), promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for where, text := range map[string]string{"the log": harness.Log.String(), "metrics": rec.Body.String()} {
		for kind, value := range harness.Planted {
			if strings.Contains(text, value) {
				t.Errorf("%s shows the %s", where, kind)
			}
		}
		if strings.Contains(text, harness.PlainMarker) {
			t.Errorf("%s shows the prompt's text", where)
		}
	}
	if !strings.Contains(rec.Body.String(), `caddy_kv_aware_staging_total{result="completed"}`) {
		t.Error("the metrics count no stagings")
	}
}
