// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// expected tells what an application has to see of an error of the gateway's own.
type expected struct {
	status                int
	openAI, anthropic, ai string // the class that the SDK has for it, or one above
	code                  string // of OpenAI's error object
	message               string // a part of it
	retryable             bool
}

// check compares an SDK's error. LangChain's client is OpenAI's.
func (want *expected) check(t *testing.T, client string, e *failure) {
	t.Helper()
	if e == nil {
		t.Fatal("the act has succeeded")
	}
	class := want.openAI
	switch kind, _, _ := strings.Cut(client, " "); kind {
	case "anthropic":
		class = want.anthropic
	case "ai":
		class = want.ai
		if e.Retryable == nil || *e.Retryable != want.retryable {
			t.Errorf("whether the request can be tried again is wrong")
		}
	default:
		if e.Code != want.code {
			t.Errorf("the code is %q", e.Code)
		}
	}
	if e.Status != want.status || !slices.Contains(e.Classes, class) || !strings.Contains(e.Message, want.message) || e.Type == "" {
		t.Errorf("the SDK throws %+v", *e)
	}
}

// The gateway's own errors arrive as the SDKs' typed errors, with the gateway's text,
// whether the client wanted a stream or not.
func (s *sdks) testOwnErrors(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Models: []string{"sim"}, Speed: 200, Responder: assistant})
	down := harness.StartEngines(t, 2, enginesim.Config{})
	for _, e := range down {
		e.Close()
	}
	all := harness.Addresses(engines)
	for name, c := range map[string]struct {
		config string
		want   expected
	}{
		"too large": {fmt.Sprintf(site, "max_size 1KB", all, ""), expected{
			http.StatusRequestEntityTooLarge, "APIError", "ContentTooLargeError", "APICallError", "too_large", "larger than this gateway accepts", false}},
		"blocked": {fmt.Sprintf(site, "mode block", all, ""), expected{
			http.StatusUnprocessableEntity, "UnprocessableEntityError", "UnprocessableEntityError", "APICallError", "blocked", "does not let through", false}},
		"no janitor": {fmt.Sprintf(":8080 {\nreverse_proxy %s {\nlb_policy kv_aware\n}\n}", all), expected{
			http.StatusServiceUnavailable, "InternalServerError", "ServiceUnavailableError", "APICallError", "unscrubbed", "no pii_janitor has seen its body", true}},
		"no engine": {fmt.Sprintf(site, "", harness.Addresses(down), ""), expected{
			http.StatusBadGateway, "InternalServerError", "InternalServerError", "APICallError", "no_answer", "no engine could answer", true}},
	} {
		t.Run(name, func(t *testing.T) {
			g := harness.StartGateway(t, "caddyfile", c.config)
			for _, act := range []string{"text", "stream"} {
				s.each(t, act, func(t *testing.T, client string) {
					ask := harness.SecretMail + strings.Repeat(" and so on", 200)
					c.want.check(t, client, s.do(t, client, act, g.URL, ask).Error)
				})
			}
		})
	}
	t.Run("token ids", func(t *testing.T) {
		g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(site, "", all, ""))
		e := s.do(t, "openai completions", "tokens", g.URL, "").Error
		want := expected{status: http.StatusBadRequest, openAI: "BadRequestError", code: "token_ids", message: "prompts must be text"}
		want.check(t, "openai completions", e)
		if e.Param != "prompt" {
			t.Errorf("the parameter is %q", e.Param)
		}
	})
}

// A request that would wait too long is refused with the class of rate limits, and with
// the time after which the SDK tries again. With its retries it has the answer then.
func (s *sdks) testOverload(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Models: []string{"sim"}, Speed: 1000, CacheBlocks: 100_000, Responder: assistant})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(site, "", harness.Addresses(engines), "metrics off\nmax_wait 100ms"))
	leave := hold(t, g, engines)
	defer leave()
	want := expected{http.StatusTooManyRequests, "RateLimitError", "RateLimitError", "APICallError", "overload", "", true}
	for _, act := range []string{"text", "stream"} {
		s.each(t, act, func(t *testing.T, client string) {
			e := s.do(t, client, act, g.URL, "Hello.").Error
			want.check(t, client, e)
			if e.RetryAfter == "" {
				t.Error("the error has no Retry-After")
			}
		})
	}

	refused := func() float64 {
		n, _ := harness.UpstreamMetric(t, "caddy_kv_aware_requests_total", "")
		return n
	}
	before := refused()
	s.send(t, "openai", "retried", g.URL, "Hello again.")
	harness.Await(t, "the SDK's first try is refused", func() bool { return refused() > before })
	leave()
	if o := s.receive(t); o.Error != nil || o.Result.Text != "Hello again." {
		t.Errorf("with retries the SDK has %+v", o)
	}
}

// hold makes each engine hold a long prompt. leave ends that.
func hold(t *testing.T, g *harness.Gateway, engines []*enginesim.Engine) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for i, e := range engines {
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Hang, Count: 1}); err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+harness.ChatPath,
			strings.NewReader(harness.Ask("sim", fmt.Sprint(i, strings.Repeat(" and on", 5_000)), true, 1)))
		if err != nil {
			t.Fatal(err)
		}
		waiting.Go(func() {
			if answer, err := g.Client.Do(r); err == nil {
				answer.Body.Close()
			}
		})
		harness.Await(t, "the engines hold a prompt each", func() bool {
			var held int64
			for _, e := range engines {
				held += e.Stats().Requests
			}
			return held > int64(i)
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		waiting.Wait()
	})
}

// When an engine cuts its stream off, the SDKs throw their error for it with the
// gateway's text, and no application takes half an answer for a whole one.
func (s *sdks) testCutStreams(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Models: []string{"sim"}, Speed: 20, Responder: assistant})
	for _, e := range engines {
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Cut, Chunks: 6}); err != nil {
			t.Fatal(err)
		}
	}
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(site, "", harness.Addresses(engines), "eject off"))
	s.each(t, "stream", func(t *testing.T, client string) {
		want := expected{openAI: "APIError", anthropic: "APIError", ai: "StreamProviderError", code: "answer_cut_off", message: "the engine cut its answer off", retryable: true}
		if strings.HasPrefix(client, "ai ") {
			want.status = 500 // the SDK's own
		}
		want.check(t, client, s.do(t, client, "stream", g.URL, "Say"+strings.Repeat(" and so on", 50)).Error)
	})
	s.each(t, "text", func(t *testing.T, client string) {
		if o := s.do(t, client, "text", g.URL, "Say it"); o.Error == nil {
			t.Errorf("the SDK has half an answer: %+v", o.Result)
		}
	})
}

// A client that aborts a stream ends the engine's work, and the gateway reserves nothing
// any more.
func (s *sdks) testAborts(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Models: []string{"sim"}, DecodeRate: 100, OutputTokens: 100_000})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(site, "", harness.Addresses(engines), ""))
	cancelled := func() (n int64) {
		for _, e := range engines {
			n += e.Stats().Cancelled
		}
		return n
	}
	s.each(t, "abort", func(t *testing.T, client string) {
		before := cancelled()
		o := s.do(t, client, "abort", g.URL, "Talk on and on, "+client)
		if e := o.Error; e != nil && !strings.Contains(strings.ToLower(e.Name+e.Message), "abort") {
			t.Errorf("the SDK throws %+v", *e)
		}
		harness.Await(t, "the engine knows that its client has left", func() bool { return cancelled() == before+1 })
	})
	for _, e := range engines {
		harness.Await(t, "nothing is reserved", func() bool { return harness.Upstream(t, e).Requests == 0 && harness.Upstream(t, e).WaitMS == 0 })
	}
	if n := harness.Metric(t, "caddy_kv_aware_failures_total"); n != 0 {
		t.Errorf("%.0f failures of engines were counted", n)
	}
}
