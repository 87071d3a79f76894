// SPDX-License-Identifier: Apache-2.0

// Package proxies finds the reverse_proxy handlers of a config. A selection
// policy needs it because Caddy does not tell a policy which proxy it belongs
// to, nor which upstreams that proxy has, before the first request.
package proxies

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Proxy is one reverse_proxy handler of a config.
type Proxy struct {
	*reverseproxy.Handler
	// Ahead holds the handlers that a request passes before the proxy, as far
	// as the config alone tells: matchers may skip some of them.
	Ahead []caddyhttp.MiddlewareHandler
}

// Policy returns the proxy's selection policy, or nil.
func (p Proxy) Policy() reverseproxy.Selector {
	if p.LoadBalancing == nil {
		return nil
	}
	return p.LoadBalancing.SelectionPolicy
}

// All returns the proxies of all HTTP servers of a provisioned config. A proxy
// that several routes lead to comes once for each of them.
func All(ctx caddy.Context) []Proxy {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	var s search
	for _, server := range app.(*caddyhttp.App).Servers {
		s.named = server.NamedRoutes
		s.routes(server.Routes, nil)
		s.errors(server.Errors, nil)
		for _, route := range server.NamedRoutes {
			s.routes(caddyhttp.RouteList{*route}, nil)
		}
	}
	return s.found
}

// maxDepth bounds the depth at which named routes invoke each other.
const maxDepth = 32

// search collects proxies.
type search struct {
	found []Proxy
	named map[string]*caddyhttp.Route
	depth int
}

// routes searches a list of routes, each of which a request passes after the
// handlers ahead. It returns the handlers that a request has passed after the
// list.
func (s *search) routes(list caddyhttp.RouteList, ahead []caddyhttp.MiddlewareHandler) []caddyhttp.MiddlewareHandler {
	for _, route := range list {
		after := s.handlers(route.Handlers, ahead)
		if route.Group == "" {
			ahead = after // of a group, a request passes only one route
		}
	}
	return ahead
}

// handlers searches the handlers of one route.
func (s *search) handlers(list []caddyhttp.MiddlewareHandler, ahead []caddyhttp.MiddlewareHandler) []caddyhttp.MiddlewareHandler {
	for _, handler := range list {
		switch h := handler.(type) {
		case *caddyhttp.Subroute:
			s.errors(h.Errors, ahead)
			ahead = s.routes(h.Routes, ahead)
		case *caddyhttp.Invoke:
			s.invoke(h.Name, ahead)
		case *reverseproxy.Handler:
			s.found = append(s.found, Proxy{Handler: h, Ahead: ahead})
			s.responses(h.HandleResponse, ahead)
		case *intercept.Intercept:
			s.responses(h.HandleResponse, ahead)
		default:
			ahead = append(slices.Clip(ahead), handler)
		}
	}
	return ahead
}

// invoke searches a named route.
func (s *search) invoke(name string, ahead []caddyhttp.MiddlewareHandler) {
	if route := s.named[name]; route != nil && s.depth < maxDepth {
		s.depth++
		s.routes(caddyhttp.RouteList{*route}, ahead)
		s.depth--
	}
}

func (s *search) errors(errors *caddyhttp.HTTPErrorConfig, ahead []caddyhttp.MiddlewareHandler) {
	if errors != nil {
		s.routes(errors.Routes, ahead)
	}
}

func (s *search) responses(list []caddyhttp.ResponseHandler, ahead []caddyhttp.MiddlewareHandler) {
	for _, response := range list {
		s.routes(response.Routes, ahead)
	}
}
