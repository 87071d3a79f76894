// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/upstreams"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestCandidates(t *testing.T) {
	r := httptest.NewRequest("POST", "/", nil)
	repl := caddy.NewReplacer()
	repl.Set("node", "d:1")
	r = r.WithContext(contextWith(r, repl))
	var pool reverseproxy.UpstreamPool
	for _, dial := range []string{"a:1", "b:1", "c:1", "{node}"} {
		pool = append(pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: dial})
	}
	for range 2 { // the second time with memory that was used before
		for _, c := range []struct{ down, failed, want string }{
			{"", "", "a:1 b:1 c:1 d:1"},
			{"b:1", "", "a:1 c:1 d:1"},
			{"", "a:1", "b:1 c:1 d:1"},
			{"", "d:1 b:1", "a:1 c:1"},
			{"c:1", "a:1 {node} b:1", "d:1"},
			{"c:1 b:1 {node}", "a:1", "a:1"}, // there is no other: again
			{"a:1 b:1 c:1 {node}", "a:1", ""},
		} {
			p := &Policy{shared: newShared(MinMemoryLimit, time.Now), available: func(u *reverseproxy.Upstream) bool { return !slices.Contains(strings.Fields(c.down), u.Dial) }}
			s := p.candidates(pool, strings.Fields(c.failed), r)
			var got []string
			for i, scored := range s.scored {
				got = append(got, scored.Address)
				if address(s.upstreams[i], r) != scored.Address {
					t.Errorf("%+v: upstream %d is not its candidate", c, i)
				}
			}
			if strings.Join(got, " ") != c.want || len(s.upstreams) != len(s.scored) {
				t.Errorf("%+v: got %q", c, got)
			}
			s.release()
			if len(s.upstreams[:cap(s.upstreams)]) > 0 && s.upstreams[:1][0] != nil {
				t.Error("memory that was given back still refers to an upstream")
			}
		}
	}
}

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
func newListingPolicy(lists modelLists) *Policy {
	s := newShared(2_000_000, time.Now)
	s.upstreams.Close()
	s.upstreams = upstreams.NewMonitor(s.router, upstreams.Options{Now: time.Now, Transport: lists})
	p := &Policy{Metrics: DefaultMetrics, shared: s}
	p.available = func(*reverseproxy.Upstream) bool { return true }
	p.subscribe()
	return p
}

func TestFilterByModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newListingPolicy(modelLists{"a:1": listing("m", "adapter"), "b:1": listing("m"), "c:1": "not a list"})
		defer p.shared.Destruct()
		pool := reverseproxy.UpstreamPool{{Dial: "a:1"}, {Dial: "b:1"}, {Dial: "c:1"}}
		r := httptest.NewRequest("POST", "/", nil)
		names := func(model string, down ...string) string {
			p.available = func(u *reverseproxy.Upstream) bool { return !slices.Contains(down, u.Dial) }
			var all []string
			for _, u := range p.filterByModel(pool, model, r) {
				all = append(all, u.Dial)
			}
			return strings.Join(all, " ")
		}
		if got := names("adapter"); got != "a:1 b:1 c:1" {
			t.Fatalf("nothing is known yet: %s", got)
		}
		p.refreshUpstreams(pool, r)
		synctest.Wait()
		for _, c := range []struct {
			model string
			down  []string
			want  string
		}{
			{"m", nil, "a:1 b:1 c:1"},
			{"adapter", nil, "a:1 c:1"},
			{"adapter", []string{"b:1", "c:1"}, "a:1 c:1"},
			{"adapter", []string{"a:1"}, "a:1 b:1 c:1"}, // no engine that lists it is available: Caddy and the engines decide
			{"unheard-of", nil, "a:1 b:1 c:1"},
			{"", nil, "a:1 b:1 c:1"},
		} {
			if got := names(c.model, c.down...); got != c.want {
				t.Errorf("model %q with %q down: %s, want %s", c.model, c.down, got, c.want)
			}
		}
	})
}

func TestUpstreamsAreRefreshedOnceASecond(t *testing.T) {
	var u upstreamRefresh
	now := time.Unix(1000, 0)
	if !u.due(now) || u.due(now) || u.due(now.Add(refreshInterval-1)) || !u.due(now.Add(refreshInterval)) {
		t.Fatal("not once a second")
	}
}
