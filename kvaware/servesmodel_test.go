// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
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

	"github.com/bauxite/caddy-kvaware/internal/upstreams"
)

// modelLists answers /v1/models by upstream address, 404 without a list.
type modelLists map[string]string

func (l modelLists) RoundTrip(r *http.Request) (*http.Response, error) {
	list, ok := l[r.URL.Host]
	answer := &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(list))}
	if !ok || r.URL.Path != "/v1/models" {
		answer.StatusCode = http.StatusNotFound
	}
	return answer, nil
}

// listing returns a list of models as engines answer it.
func listing(names ...string) string {
	return `{"data":[{"id":"` + strings.Join(names, `"},{"id":"`) + `"}]}`
}

// newListingPolicy returns a policy whose engines answer with lists of models.
func newListingPolicy(lists http.RoundTripper) *Policy {
	s := newShared(2_000_000, time.Now)
	s.upstreams.Close()
	s.upstreams = upstreams.NewMonitor(s.router, upstreams.Options{Now: time.Now, Transport: lists})
	p := &Policy{Metrics: DefaultMetrics, shared: s}
	p.available = func(*reverseproxy.Upstream) bool { return true }
	p.subscribe()
	return p
}

// filtered returns the dial addresses that may serve a model.
func (p *Policy) filtered(pool reverseproxy.UpstreamPool, model string, down ...string) string {
	p.available = func(u *reverseproxy.Upstream) bool { return !slices.Contains(down, u.Dial) }
	var all []string
	for _, u := range p.filterByModel(pool, "chat", model, httptest.NewRequest("POST", "/", nil)) {
		all = append(all, u.Dial)
	}
	return strings.Join(all, " ")
}

func TestFilterByModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newListingPolicy(modelLists{"a:1": listing("m", "adapter"), "b:1": listing("m"), "c:1": "not a list"})
		defer p.shared.Destruct()
		pool := reverseproxy.UpstreamPool{{Dial: "a:1"}, {Dial: "b:1"}, {Dial: "c:1"}}
		if got := p.filtered(pool, "adapter"); got != "a:1 b:1 c:1" {
			t.Fatalf("nothing is known yet: %s", got)
		}
		p.refreshUpstreams(pool, httptest.NewRequest("POST", "/", nil))
		synctest.Wait()
		for _, c := range []struct {
			model   string
			down    string
			lacking string // upstreams that have answered that they lack it
			want    string
		}{
			{"m", "", "", "a:1 b:1 c:1"},
			{"adapter", "", "", "a:1 c:1"},
			{"adapter", "b:1 c:1", "", "a:1 c:1"},
			{"adapter", "a:1", "", "a:1 b:1 c:1"}, // no engine that lists it is available: Caddy and the engines decide
			{"unheard-of", "", "", "a:1 b:1 c:1"},
			{"", "", "", "a:1 b:1 c:1"},
			{"m", "", "b:1", "a:1 c:1"},
			{"m", "", "a:1 b:1", "c:1"},
			{"adapter", "", "c:1", "a:1"},
			{"adapter", "", "a:1", "b:1 c:1"},
			{"adapter", "b:1 c:1", "a:1", "a:1 b:1 c:1"}, // no other is left: its own error
			{"unheard-of", "", "a:1", "b:1 c:1"},
			{"unheard-of", "", "a:1 b:1 c:1", "a:1 b:1 c:1"},
		} {
			for _, at := range strings.Fields(c.lacking) {
				p.shared.upstreams.Lacks(at, "chat", c.model)
				p.shared.upstreams.Lacks(at, "messages", "m")
			}
			if got := p.filtered(pool, c.model, strings.Fields(c.down)...); got != c.want {
				t.Errorf("model %q with %q down and %q without it: %s, want %s", c.model, c.down, c.lacking, got, c.want)
			}
			for _, u := range pool {
				p.shared.upstreams.Forget(u.Dial)
			}
		}
	})
}

// countingLists counts how often each list is read.
type countingLists struct {
	modelLists
	mu    sync.Mutex
	reads int
}

func (l *countingLists) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/v1/models" {
		l.mu.Lock()
		l.reads++
		l.mu.Unlock()
	}
	return l.modelLists.RoundTrip(r)
}

// However many requests name models that nobody lists, or are answered 404, the
// engines are not asked more often than every two seconds.
func TestMadeUpModelsDoNotHammerEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := &countingLists{modelLists: modelLists{"a:1": listing("m"), "b:1": listing("m")}}
		p := newListingPolicy(lists)
		defer p.shared.Destruct()
		pool := reverseproxy.UpstreamPool{{Dial: "a:1"}, {Dial: "b:1"}}
		r := httptest.NewRequest("POST", "/", nil)
		for range 1000 {
			p.refreshUpstreams(pool, r)
			p.filtered(pool, "made up")
			p.shared.upstreams.Lacks("a:1", "chat", "made up")
			time.Sleep(10 * time.Millisecond) // virtual
		}
		lists.mu.Lock()
		defer lists.mu.Unlock()
		if lists.reads < 8 || lists.reads > 16 {
			t.Errorf("two lists were read %d times in 10 s", lists.reads)
		}
	})
}

func TestModelPaths(t *testing.T) {
	for _, c := range []struct {
		method, path string
		lists        bool
		model        string
	}{
		{"GET", "/v1/models", true, ""},
		{"GET", "/v1/models/", true, ""},
		{"GET", "/models", true, ""},
		{"GET", "/llm/v1/models", true, ""},
		{"HEAD", "/v1/models", false, ""},
		{"POST", "/v1/models", false, ""},
		{"GET", "/v1/supermodels", false, ""},
		{"GET", "/v1/models/m", false, "m"},
		{"HEAD", "/v1/models/m", false, "m"},
		{"DELETE", "/v1/models/m", false, ""},
		{"GET", "/v1/models/meta-llama/Llama-3", false, "meta-llama/Llama-3"},
		{"GET", "/v1/models//models/llama", false, "/models/llama"},
		{"GET", "/models/m", false, "m"},
		{"GET", "/v1/chat/completions", false, ""},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if listsModels(r) != c.lists || !c.lists && modelOfPath(r) != c.model {
			t.Errorf("%s %s: lists %v, model %q", c.method, c.path, listsModels(r), modelOfPath(r))
		}
	}
	if r := httptest.NewRequest("GET", "/v1/models", strings.NewReader("{}")); listsModels(r) {
		t.Error("a request with a body would lose it")
	}
}

// A request about one model goes to an upstream that lists it, as long as one can
// take it.
func TestOneModelIsAskedForWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newListingPolicy(modelLists{"a:1": listing("m"), "b:1": listing("m", "adapter"), "c:1": "nothing"})
		defer p.shared.Destruct()
		pool := reverseproxy.UpstreamPool{{Dial: "a:1"}, {Dial: "b:1"}, {Dial: "c:1"}}
		p.refreshUpstreams(pool, httptest.NewRequest("GET", "/", nil))
		synctest.Wait()
		for _, c := range []struct{ path, down, tried, want string }{
			{"/v1/models/adapter", "", "", "b:1"},
			{"/v1/models/m", "", "", "a:1 b:1"},
			{"/v1/models/unheard-of", "", "", "a:1 b:1 c:1"},
			{"/v1/models/adapter", "b:1", "", "a:1 b:1 c:1"},
			{"/v1/models/adapter", "", "b:1", "a:1 b:1 c:1"},
			{"/v1/models", "", "", "a:1 b:1 c:1"},
			{"/v1/responses/adapter", "", "", "a:1 b:1 c:1"},
		} {
			p.available = func(u *reverseproxy.Upstream) bool { return u.Dial != c.down }
			r := httptest.NewRequest("GET", c.path, nil)
			var got []string
			for _, u := range p.forModelsPath(pool, strings.Fields(c.tried), r.WithContext(contextWith(r, caddy.NewReplacer()))) {
				got = append(got, u.Dial)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%+v: %q", c, got)
			}
		}
	})
}
