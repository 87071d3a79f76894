// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// pages answers for engines: a body by address and path, 404 without.
type pages struct {
	mu     sync.Mutex
	bodies map[string]string
	asked  []string
}

func (p *pages) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r.URL.String())
	body, ok := p.bodies[r.URL.Host+r.URL.Path]
	answer := &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}
	if !ok {
		answer.StatusCode = http.StatusNotFound
	}
	return answer, nil
}

func (p *pages) set(url, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies[url] = body
}

// engineTest is a policy over engines that answer from memory, in virtual time.
type engineTest struct {
	*Policy
	pages *pages
	pool  reverseproxy.UpstreamPool
	r     *http.Request
}

func testEngines(t *testing.T, bodies map[string]string, dials []string, test func(e *engineTest)) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(2_000_000, time.Now)
		e := &engineTest{
			Policy: &Policy{Metrics: DefaultMetrics, shared: s, sight: new(sight)},
			pages:  &pages{bodies: bodies},
		}
		e.available = func(*reverseproxy.Upstream) bool { return true }
		s.engines = newEngines(s.router, time.Now, e.pages)
		defer s.Destruct()
		for _, dial := range dials {
			e.pool = append(e.pool, &reverseproxy.Upstream{Dial: dial})
		}
		r := httptest.NewRequest("POST", "/", nil)
		e.r = r.WithContext(contextWith(r, caddy.NewReplacer()))
		test(e)
	})
}

// look lets the policy say what it has, and the engines be asked.
func (e *engineTest) look() {
	e.see(e.pool, e.r)
	synctest.Wait()
}

func (e *engineTest) known(t *testing.T, address string) upstreamReport {
	t.Helper()
	reports := e.shared.report(address)
	if len(reports) != 1 {
		t.Fatalf("%d reports of %s", len(reports), address)
	}
	return reports[0]
}

func vllmSays(running, waiting, blocks int, started float64) string {
	return fmt.Sprintf("process_start_time_seconds %v\nvllm:num_requests_running %d\nvllm:num_requests_waiting %d\nvllm:kv_cache_usage_perc 0.5\n"+
		"vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"%d\"} 1\n", started, running, waiting, blocks)
}

func TestEnginesTellTheFleet(t *testing.T) {
	testEngines(t, map[string]string{
		"a:1/metrics":   vllmSays(4, 3, 1000, 100),
		"a:1/v1/models": `{"data":[{"id":"m"},{"id":"n"}]}`,
	}, []string{"a:1", "b:1"}, func(e *engineTest) {
		e.look()
		got := e.known(t, "a:1")
		if got.Capacity != 16000 || got.CapacitySource != "metrics" || got.Engine == nil {
			t.Fatalf("%+v", got)
		}
		if g := got.Engine; g.Kind != "vllm" || *g.Running != 4 || *g.Waiting != 3 || *g.KVUsage != 0.5 || *g.ReadAgo != 0 || g.Models != 2 || g.Failure != "" {
			out, _ := json.Marshal(g)
			t.Fatalf("%s", out)
		}
		hold(e.shared, "b:1", 1)
		if b := e.known(t, "b:1"); b.Capacity != 0 || b.CapacitySource != "" || b.Engine.Failure == "" || b.Engine.ReadAgo != nil {
			t.Fatalf("%+v", b)
		}

		// A configured capacity counts, and the engine's own again without.
		e.Capacity = 5000
		time.Sleep(seeInterval) // virtual
		e.look()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := e.known(t, "a:1"); got.Capacity != 5000 || got.CapacitySource != "config" {
			t.Fatalf("%+v", got)
		}
		if got := e.known(t, "b:1"); got.Capacity != 5000 || got.CapacitySource != "config" {
			t.Fatalf("%+v", got)
		}
		e.Capacity = 0
		e.look()
		if got := e.known(t, "a:1"); got.Capacity != 16000 || got.CapacitySource != "metrics" {
			t.Fatalf("%+v", got)
		}
		if got := e.known(t, "b:1"); got.Capacity != 0 {
			t.Fatalf("%+v", got)
		}
	})
}

func TestARestartedEngineIsForgotten(t *testing.T) {
	testEngines(t, map[string]string{"a:1/metrics": vllmSays(0, 0, 1000, 100)}, []string{"a:1"}, func(e *engineTest) {
		e.look()
		hold(e.shared, "a:1", 1, 2, 3)
		time.Sleep(5 * time.Second) // virtual
		synctest.Wait()
		if n := e.shared.router.Stats().Blocks; n != 3 {
			t.Fatalf("%d blocks, want 3", n)
		}
		e.pages.set("a:1/metrics", vllmSays(0, 0, 1000, 160))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := e.shared.router.Stats().Blocks; n != 0 {
			t.Fatalf("%d blocks after the restart", n)
		}
	})
}

// A queue that this gateway did not send makes an engine busy, until it is no
// longer told.
func TestForeignLoadReachesTheFleet(t *testing.T) {
	testEngines(t, map[string]string{"a:1/metrics": vllmSays(4, 3, 1000, 100)}, []string{"a:1", "b:1"}, func(e *engineTest) {
		e.look()
		pick := func() int {
			r := e.shared.router.NewRequest(routing.Prompt{Tokens: 1000, BlockTokens: 64})
			defer r.End()
			return r.Route([]routing.Candidate{{Address: "a:1"}, {Address: "b:1"}}, false).Pick
		}
		if pick() != 1 {
			t.Fatal("the engine with others' requests was picked")
		}
		e.pages.set("a:1/metrics", vllmSays(0, 0, 1000, 100))
		time.Sleep(5 * time.Second) // virtual
		synctest.Wait()
		if pick() != 0 {
			t.Fatal("an engine that is idle again was not picked")
		}
	})
}

func TestWhoIsAsked(t *testing.T) {
	bodies := map[string]string{"a:1/metrics": vllmSays(0, 0, 1, 1), "a:1/own": vllmSays(0, 0, 1, 1)}
	dials := []string{"a:1", "unix//run/engine.sock", "c:1-3", "c:0", ":80", "tcp/d:1", "{http.vars.nobody}:1", "e@x:1"}
	testEngines(t, bodies, dials, func(e *engineTest) {
		e.Metrics = "/own"
		e.look()
		slices.Sort(e.pages.asked)
		if got := strings.Join(e.pages.asked, " "); got != "http://a:1/own http://a:1/v1/models" {
			t.Fatalf("asked %s", got)
		}
	})
	testEngines(t, bodies, dials, func(e *engineTest) {
		e.Metrics, e.Capacity = "off", 100
		e.look()
		if len(e.pages.asked) != 0 {
			t.Fatalf("asked %q though metrics are off", e.pages.asked)
		}
		if got := e.known(t, "a:1"); got.Capacity != 100 || got.CapacitySource != "config" || got.Engine != nil {
			t.Fatalf("%+v", got)
		}
	})
}

func TestUpstreamsAreSeenOnceASecond(t *testing.T) {
	testEngines(t, nil, []string{"a:1"}, func(e *engineTest) {
		now := time.Now()
		if !e.sight.due(now) || e.sight.due(now) || e.sight.due(now.Add(seeInterval-1)) || !e.sight.due(now.Add(seeInterval)) {
			t.Fatal("not once a second")
		}
	})
}

func TestServing(t *testing.T) {
	list := func(names ...string) string {
		return `{"data":[{"id":"` + strings.Join(names, `"},{"id":"`) + `"}]}`
	}
	testEngines(t, map[string]string{
		"a:1/v1/models": list("m", "adapter"),
		"b:1/v1/models": list("m"),
		"c:1/v1/models": "not a list",
	}, []string{"a:1", "b:1", "c:1"}, func(e *engineTest) {
		names := func(model string, down ...string) string {
			e.available = func(u *reverseproxy.Upstream) bool { return !slices.Contains(down, u.Dial) }
			var all []string
			for _, u := range e.serving(e.pool, model, e.r) {
				all = append(all, u.Dial)
			}
			return strings.Join(all, " ")
		}
		if got := names("adapter"); got != "a:1 b:1 c:1" {
			t.Fatalf("nothing is known yet: %s", got)
		}
		e.look()
		for _, c := range []struct {
			model string
			down  []string
			want  string
		}{
			{"m", nil, "a:1 b:1 c:1"},
			{"adapter", nil, "a:1 c:1"},
			{"adapter", []string{"b:1", "c:1"}, "a:1 c:1"},
			{"adapter", []string{"a:1"}, "a:1 b:1 c:1"}, // who lists it is not there: Caddy and the engines decide
			{"unheard-of", nil, "a:1 b:1 c:1"},
			{"", nil, "a:1 b:1 c:1"},
		} {
			if got := names(c.model, c.down...); got != c.want {
				t.Errorf("model %q with %q down: %s, want %s", c.model, c.down, got, c.want)
			}
		}
	})
}
