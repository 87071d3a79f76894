// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Policies are found wherever a proxy can stand, and others are not taken for
// ours.
func TestPoliciesAreFoundInRoutes(t *testing.T) {
	proxy := func(s reverseproxy.Selector, nested ...caddyhttp.ResponseHandler) *reverseproxy.Handler {
		return &reverseproxy.Handler{
			LoadBalancing:  &reverseproxy.LoadBalancing{SelectionPolicy: s},
			Upstreams:      reverseproxy.UpstreamPool{{Dial: "a:8000"}},
			HandleResponse: nested,
		}
	}
	route := func(h caddyhttp.MiddlewareHandler) caddyhttp.RouteList {
		return caddyhttp.RouteList{{Handlers: []caddyhttp.MiddlewareHandler{h}}}
	}
	answer := func(h caddyhttp.MiddlewareHandler) caddyhttp.ResponseHandler {
		return caddyhttp.ResponseHandler{Routes: route(h)}
	}
	p := make([]*Policy, 6)
	for i := range p {
		p[i] = new(Policy)
	}
	found := make(map[*Policy][]string)
	searchRoutes(slices.Concat(
		route(proxy(p[0])),
		route(&caddyhttp.Subroute{
			Routes: route(&caddyhttp.Subroute{Routes: route(proxy(p[1]))}),
			Errors: &caddyhttp.HTTPErrorConfig{Routes: route(proxy(p[2]))},
		}),
		route(proxy(reverseproxy.RandomSelection{}, answer(proxy(p[3])))),
		route(&intercept.Intercept{HandleResponse: []caddyhttp.ResponseHandler{answer(proxy(p[4]))}}),
	), found)
	searchErrors(&caddyhttp.HTTPErrorConfig{Routes: route(proxy(p[5]))}, found)
	searchErrors(nil, found)
	for i := range p {
		if !slices.Equal(found[p[i]], []string{"a:8000"}) {
			t.Errorf("policy %d: found with %v", i, found[p[i]])
		}
	}
	if len(found) != len(p) {
		t.Errorf("%d are found", len(found))
	}
}

func TestStaticAddresses(t *testing.T) {
	var pool reverseproxy.UpstreamPool
	for _, dial := range []string{"a:8000", "{http.vars.node}:8000", "unix//run/engine.sock", "[::1]:8000", "b", "c:1-9", ":8000"} {
		pool = append(pool, &reverseproxy.Upstream{Dial: dial})
	}
	if got := staticAddresses(pool); !slices.Equal(got, []string{"a:8000", "[::1]:8000"}) {
		t.Errorf("got %v", got)
	}
}
