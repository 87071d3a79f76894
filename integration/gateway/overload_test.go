// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// overloadSite is a site whose requests may wait for max_wait. Its proxy tries
// again for an hour, which no test would survive.
const overloadSite = `:8080 {
	pii_janitor
	header >X-Reason {http.kv_aware.reason}
	reverse_proxy %s {
		lb_policy kv_aware {
			metrics off
			%s
		}
		lb_try_duration 1h
		lb_retry_match {
			method POST
		}
	}
}`

// overload is an overloaded gateway: each engine holds long prompts until finish.
type overload struct {
	*harness.Gateway
	engines []*enginesim.Engine
	waiting sync.WaitGroup
	ctx     context.Context // of the clients whose prompts are held
	leave   context.CancelFunc
}

// startOverload starts engines and a gateway with these options.
func startOverload(t *testing.T, engines int, options string) *overload {
	t.Helper()
	o := &overload{engines: harness.StartEngines(t, engines, enginesim.Config{Speed: 1000, CacheBlocks: 100_000})}
	o.Gateway = harness.StartGateway(t, "caddyfile", fmt.Sprintf(overloadSite, harness.Addresses(o.engines), options))
	o.ctx, o.leave = context.WithCancel(t.Context())
	harness.Log.Reset()
	return o
}

// hold makes the engines hold n prompts of this length, one after the other.
func (o *overload) hold(t *testing.T, n, bytes int, header ...string) {
	t.Helper()
	for i := range n {
		before := o.requests()
		if i < len(o.engines) {
			if err := o.engines[i].Fault(enginesim.Fault{Kind: enginesim.Hang, Count: (n - i + len(o.engines) - 1) / len(o.engines)}); err != nil {
				t.Fatal(err)
			}
		}
		body := harness.Ask("sim", fmt.Sprint(i, strings.Repeat(" and on", bytes/7)), true, 1)
		r, err := http.NewRequestWithContext(o.ctx, http.MethodPost, o.URL+harness.ChatPath, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k := 0; k < len(header); k += 2 {
			r.Header.Set(header[k], header[k+1])
		}
		o.waiting.Go(func() {
			answer, err := o.Client.Do(r)
			if err != nil {
				if o.ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("a request that was let in: status %d", answer.StatusCode)
			}
		})
		harness.Await(t, "an engine holds the prompt", func() bool { return o.requests() > before })
	}
}

// requests returns the number of requests that have reached the engines.
func (o *overload) requests() (n int64) {
	for _, e := range o.engines {
		n += e.Stats().Requests
	}
	return n
}

// finish lets the engines answer what they hold.
func (o *overload) finish(t *testing.T) {
	t.Helper()
	for _, e := range o.engines {
		if err := e.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	o.waiting.Wait()
}

// wantRefused checks the status and the header of a refusal.
func wantRefused(t *testing.T, name string, answer harness.Reply) {
	t.Helper()
	if answer.Status != http.StatusTooManyRequests {
		t.Fatalf("%s: status %d: %.300s", name, answer.Status, answer.Body)
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 60 {
		t.Errorf("%s: Retry-After %q", name, answer.Header.Get("Retry-After"))
	}
	if got := answer.Header.Get("X-Reason"); got != "overload" {
		t.Errorf("%s: reason %q", name, got)
	}
	if got := answer.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: type %q", name, got)
	}
}

// Every engine is busy for longer than max_wait: a request gets 429 at once in the
// shape of its API, reaches no engine and leaves nothing behind.
func TestMaxWaitRefuses(t *testing.T) {
	o := startOverload(t, 2, "max_wait 1s")
	// Late as they are, 12 s of prefill count for more than a second.
	o.hold(t, 2, 400_000)
	before := harness.Metric(t, "caddy_kv_aware_tree_blocks")

	const tries = 20
	for i := range tries {
		answer := o.Post(t, harness.ChatPath, harness.Chat(fmt.Sprint("Mail to ", harness.SecretMail, " for the ", i, "th time. ", strings.Repeat("Hello. ", 500)), i%2 == 0))
		wantRefused(t, "chat", answer)
		var e struct {
			Error struct{ Message, Type, Code string }
		}
		if err := json.Unmarshal([]byte(answer.Body), &e); err != nil || e.Error.Type != "rate_limit_error" || e.Error.Code != "overload" || e.Error.Message == "" {
			t.Fatalf("not an error of OpenAI's API: %s", answer.Body)
		}
	}
	answer := o.Post(t, "/v1/messages", `{"model":"sim","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`)
	wantRefused(t, "messages", answer)
	var e struct {
		Type  string
		Error struct{ Type, Message string }
	}
	if err := json.Unmarshal([]byte(answer.Body), &e); err != nil || e.Type != "error" || e.Error.Type != "rate_limit_error" || e.Error.Message == "" {
		t.Fatalf("not an error of Anthropic's API: %s", answer.Body)
	}

	_, explained := harness.Admin(t, http.MethodPost, "/kv_aware/explain", harness.Chat("hi", false))
	if !strings.Contains(explained, `"reason":"overload"`) || strings.Contains(explained, `"upstream":`) {
		t.Errorf("explained as %s", explained)
	}

	if n := o.requests(); n != 2 {
		t.Errorf("the engines got %d requests, want the 2 that they hold", n)
	}
	if got := harness.Metric(t, "caddy_kv_aware_tree_blocks"); got != before {
		t.Errorf("refused prompts are in the tree: %v blocks, want %v", got, before)
	}
	if n, _ := harness.UpstreamMetric(t, "caddy_kv_aware_requests_total", ""); n != tries+1 {
		t.Errorf("counted %v refusals, want %d", n, tries+1)
	}
	if n := harness.Metric(t, "caddy_kv_aware_failures_total"); n != 0 {
		t.Errorf("%v failures of engines", n)
	}
	for line := range strings.SplitSeq(harness.Log.String(), "\n") {
		if strings.Contains(line, `"level":"error"`) || strings.Contains(line, `"level":"warn"`) || strings.Contains(line, "max_wait") && !strings.Contains(line, `"level":"debug"`) {
			t.Errorf("logged %s", line)
		}
	}

	o.finish(t)
	for i := range 10 {
		if answer := o.Post(t, harness.ChatPath, harness.Chat(fmt.Sprint("question ", i), false)); answer.Status != http.StatusOK {
			t.Fatalf("after the load: status %d", answer.Status)
		}
	}
	for _, e := range o.engines {
		harness.Await(t, "nothing is left reserved", func() bool {
			u := harness.Upstream(t, e)
			return u.WaitMS == 0 && u.Requests == 0
		})
	}
}

// Sixty clients at once ask for 7 s of work. Each gets an answer or a refusal, the
// engines get what was let in, and when it is done all are served again.
func TestMaxWaitUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	engines := harness.StartEngines(t, 2, enginesim.Config{CacheBlocks: 100_000, OutputTokens: 4})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(overloadSite, harness.Addresses(engines), "max_wait 1s"))
	rnd := rand.New(rand.NewPCG(13, 9))
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 60 {
		body := harness.Ask("sim", harness.Words(rnd, 8000), i%2 == 0, 4)
		wg.Go(func() {
			answer, err := g.Client.Post(g.URL+harness.ChatPath, "application/json", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			switch answer.StatusCode {
			case http.StatusOK:
				served.Add(1)
			case http.StatusTooManyRequests:
				refused.Add(1)
			default:
				t.Errorf("status %d", answer.StatusCode)
			}
		})
	}
	wg.Wait()
	t.Logf("served %d, refused %d", served.Load(), refused.Load())
	if served.Load() < 2 || refused.Load() < 1 {
		t.Errorf("served %d, refused %d", served.Load(), refused.Load())
	}
	if n := engines[0].Stats().Requests + engines[1].Stats().Requests; n != served.Load() {
		t.Errorf("the engines got %d requests, %d were served", n, served.Load())
	}
	for _, e := range engines {
		harness.Await(t, "nothing is left reserved", func() bool {
			u := harness.Upstream(t, e)
			return u.WaitMS == 0 && u.Requests == 0
		})
	}
	for range 2 {
		g.Must(t, harness.Ask("sim", harness.Words(rnd, 8000), false, 4))
	}
}

// A client that leaves takes its work with it.
func TestMaxWaitCountsNoWorkOfClientsThatLeft(t *testing.T) {
	o := startOverload(t, 1, "max_wait 1s")
	o.hold(t, 1, 400_000)
	wantRefused(t, "the engine is busy", o.Post(t, harness.ChatPath, harness.Chat("hi", false)))
	o.leave()
	harness.Await(t, "nothing is reserved", func() bool { return harness.Upstream(t, o.engines[0]).Requests == 0 })
	if answer := o.Post(t, harness.ChatPath, harness.Chat("hi", false)); answer.Status != http.StatusOK {
		t.Fatalf("status %d", answer.Status)
	}
	o.waiting.Wait()
}

// The engine holds eight prompts: the last seven count for 22 s, all for at most 25 s.
// The worse of two priorities, and the greedier of two tenants, may wait for half of
// the 40 s.
func TestMaxWaitRefusesByPriorityAndTenant(t *testing.T) {
	const held, bytes = 8, 100_000
	ask := func(priority string) string {
		return strings.Replace(harness.Chat("hi", false), `{`, `{`+priority, 1)
	}
	for _, c := range []struct {
		name, options string
		holding       []string // header of the prompts that the engine holds
		body          string
		header        []string
		refused       bool
	}{
		{name: "the better one, by placeholder", options: "priority {http.request.header.X-Priority}",
			holding: []string{"X-Priority", "5"}, header: []string{"X-Priority", "-3"}},
		{name: "the worse one, by placeholder", options: "priority {http.request.header.X-Priority}",
			holding: []string{"X-Priority", "5"}, header: []string{"X-Priority", "6"}, refused: true},
		{name: "no number is the default", options: "priority {http.request.header.X-Priority}",
			holding: []string{"X-Priority", "-5"}, header: []string{"X-Priority", "first"}, refused: true},
		{name: "the placeholder wins over the body", options: "priority {http.request.header.X-Priority}",
			holding: []string{"X-Priority", "-5"}, body: ask(`"priority":-9,`), refused: true},
		{name: "the better one, by the body", body: ask(`"priority":-1,`)},
		{name: "the worse one, by the body", body: ask(`"priority":1,`), refused: true},
		{name: "the greedy tenant", options: "tenant {http.request.header.X-Tenant}",
			holding: []string{"X-Tenant", "greedy"}, header: []string{"X-Tenant", "greedy"}, refused: true},
		{name: "another tenant", options: "tenant {http.request.header.X-Tenant}",
			holding: []string{"X-Tenant", "greedy"}, header: []string{"X-Tenant", "small"}},
		{name: "requests without a tenant are one tenant", options: "tenant {http.request.header.X-Tenant}", refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := startOverload(t, 1, "max_wait 40s\n"+c.options)
			o.hold(t, held, bytes, c.holding...)
			if strings.HasPrefix(c.options, "tenant") { // another one is about
				if answer := o.Post(t, harness.ChatPath, harness.Chat("hi", false), "X-Tenant", "first"); answer.Status != http.StatusOK {
					t.Fatalf("status %d", answer.Status)
				}
			}
			body := c.body
			if body == "" {
				body = harness.Chat("hi", false)
			}
			answer := o.Post(t, harness.ChatPath, body, c.header...)
			if c.refused {
				wantRefused(t, c.name, answer)
			} else if answer.Status != http.StatusOK {
				t.Errorf("status %d: %.300s", answer.Status, answer.Body)
			}
			o.finish(t)
		})
	}
}
