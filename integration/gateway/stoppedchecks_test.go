// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// checkedEngine is an engine whose answers to health checks a test decides.
type checkedEngine struct {
	*httptest.Server
	requests atomic.Int32 // other than health checks
}

func startChecked(t *testing.T, health, request http.HandlerFunc) *checkedEngine {
	t.Helper()
	e := new(checkedEngine)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", health)
	mux.HandleFunc("POST /v1/", func(w http.ResponseWriter, r *http.Request) {
		e.requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		request(w, r)
	})
	e.Server = httptest.NewServer(mux)
	t.Cleanup(e.Close)
	return e
}

func (e *checkedEngine) address() string { return strings.TrimPrefix(e.URL, "http://") }

// A reload cancels the health checks under way, and Caddy takes each for that of an
// unhealthy upstream. A request that was sent before the reload can still be
// retried after it: at the upstream that was healthy, and not at the one that was
// not.
func TestRetryAfterReloadCancelsHealthChecks(t *testing.T) {
	for _, path := range []string{"/v1/chat/completions", "/v1/embeddings"} {
		t.Run(path, func(t *testing.T) { retryAfterReload(t, path) })
	}
}

func retryAfterReload(t *testing.T, path string) {
	release, ended := make(chan struct{}), make(chan struct{})
	waits := func(_ http.ResponseWriter, r *http.Request) { // until the check is cancelled
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}
	reached := make(chan struct{}, 1)
	var first atomic.Bool
	failsFirst := func(w http.ResponseWriter, _ *http.Request) {
		if first.CompareAndSwap(false, true) {
			reached <- struct{}{}
			<-release
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}]}`)
	}
	a, b := startChecked(t, waits, failsFirst), startChecked(t, waits, failsFirst)
	ill := startChecked(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, failsFirst)
	t.Cleanup(func() { close(ended) })
	site := fmt.Sprintf(":8080 {\n pii_janitor\n reverse_proxy %s %s %s {\n lb_policy kv_aware\n health_uri /health\n health_interval 1h\n health_timeout 1h\n }\n}",
		a.address(), b.address(), ill.address())
	harness.Log.Reset()
	g := harness.StartGateway(t, "caddyfile", site)
	logged := func(message string, e *checkedEngine) func() bool {
		return func() bool {
			for line := range strings.Lines(harness.Log.String()) {
				if strings.Contains(line, message) && strings.Contains(line, `"host":"`+e.address()) {
					return true
				}
			}
			return false
		}
	}
	harness.Await(t, "the ill upstream has failed its check", logged("status code out of tolerances", ill))
	answered := make(chan string, 1)
	go func() {
		body := strings.Replace(harness.Chat("A question", false), `"messages"`, `"input":"A question","messages"`, 1)
		answered <- postTo(t.Context(), g.Client, g.URL+path, body)
	}()
	<-reached
	g.Reload(t, "caddyfile", strings.Replace(site, "pii_janitor", "pii_janitor\n header X-New yes", 1))
	for _, e := range []*checkedEngine{a, b} {
		harness.Await(t, "the reload has cancelled a check", logged("HTTP request failed", e))
	}
	close(release)
	if got := <-answered; got != "200 OK" {
		t.Errorf("the answer: %s", got)
	}
	if a.requests.Load() != 1 || b.requests.Load() != 1 || ill.requests.Load() != 0 {
		t.Errorf("%d and %d attempts at the healthy upstreams and %d at the other, want one at each healthy one",
			a.requests.Load(), b.requests.Load(), ill.requests.Load())
	}
}

// postTo sends a request and returns the status of its answer, or what went wrong.
func postTo(ctx context.Context, client *http.Client, url, body string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	answer.Body.Close()
	return answer.Status
}
