// SPDX-License-Identifier: Apache-2.0

package proxies

import (
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// marker is a handler that only stands somewhere.
type marker struct {
	caddyhttp.MiddlewareHandler
	name string
}

func route(handlers ...caddyhttp.MiddlewareHandler) caddyhttp.RouteList {
	return caddyhttp.RouteList{{Handlers: handlers}}
}

// proxy returns a handler that is recognised by its upstream's address.
func proxy(dial string, nested ...caddyhttp.ResponseHandler) *reverseproxy.Handler {
	return &reverseproxy.Handler{Upstreams: reverseproxy.UpstreamPool{{Dial: dial}}, HandleResponse: nested}
}

// found returns, for each proxy, its address and the markers ahead of it.
func found(s *search) (all []string) {
	for _, p := range s.found {
		text := p.Upstreams[0].Dial + ":"
		for _, h := range p.Ahead {
			text += " " + h.(marker).name
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

func TestProxiesAreFoundWhereverTheyStand(t *testing.T) {
	response := func(h caddyhttp.MiddlewareHandler) []caddyhttp.ResponseHandler {
		return []caddyhttp.ResponseHandler{{Routes: route(h)}}
	}
	s := &search{named: map[string]*caddyhttp.Route{
		"shared": {Handlers: []caddyhttp.MiddlewareHandler{marker{name: "n"}, proxy("named")}},
		"loop":   {Handlers: []caddyhttp.MiddlewareHandler{&caddyhttp.Invoke{Name: "loop"}}},
	}}
	s.routes(slices.Concat(
		route(proxy("first")),
		route(marker{name: "a"}),
		route(&caddyhttp.Subroute{
			Routes: route(&caddyhttp.Subroute{Routes: route(marker{name: "b"}, proxy("nested"))}),
			Errors: &caddyhttp.HTTPErrorConfig{Routes: route(proxy("error"))},
		}),
		route(proxy("outer", response(proxy("response"))...)),
		route(&intercept.Intercept{HandleResponse: response(proxy("intercepted"))}),
		route(&caddyhttp.Invoke{Name: "shared"}),
		route(&caddyhttp.Invoke{Name: "loop"}),
		route(&caddyhttp.Invoke{Name: "unknown"}),
	), nil)
	s.errors(&caddyhttp.HTTPErrorConfig{Routes: route(proxy("site error"))}, nil)
	s.errors(nil, nil)
	want := []string{"error: a", "first:", "intercepted: a b", "named: a b n", "nested: a b", "outer: a b", "response: a b", "site error:"}
	if got := found(s); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// A request passes one route of a group, so the others are not ahead of it.
func TestRoutesOfAGroupExcludeEachOther(t *testing.T) {
	var s search
	s.routes(caddyhttp.RouteList{
		{Group: "g", Handlers: []caddyhttp.MiddlewareHandler{marker{name: "a"}, proxy("one")}},
		{Group: "g", Handlers: []caddyhttp.MiddlewareHandler{marker{name: "b"}, proxy("two")}},
		{Handlers: []caddyhttp.MiddlewareHandler{proxy("three")}},
	}, nil)
	if got, want := found(&s), []string{"one: a", "three:", "two: b"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestProxyWithoutAPolicy(t *testing.T) {
	if (Proxy{Handler: proxy("a")}).Policy() != nil {
		t.Error("a proxy without load balancing has a policy")
	}
}
