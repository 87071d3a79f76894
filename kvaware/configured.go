// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// configured finds the kv_aware policies of a config's HTTP servers, each with
// the dial addresses of the static upstreams of its proxy. A policy does not
// learn from Caddy whose it is before the first request.
func configured(ctx caddy.Context) map[*Policy][]string {
	found := make(map[*Policy][]string)
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return found
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		searchRoutes(server.Routes, found)
		searchErrors(server.Errors, found)
		for _, route := range server.NamedRoutes {
			searchRoutes(caddyhttp.RouteList{*route}, found)
		}
	}
	return found
}

func searchErrors(errors *caddyhttp.HTTPErrorConfig, found map[*Policy][]string) {
	if errors != nil {
		searchRoutes(errors.Routes, found)
	}
}

// searchRoutes looks into the routes and those nested in them.
func searchRoutes(routes caddyhttp.RouteList, found map[*Policy][]string) {
	for _, route := range routes {
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *caddyhttp.Subroute:
				searchRoutes(h.Routes, found)
				searchErrors(h.Errors, found)
			case *reverseproxy.Handler:
				if p, ok := h.LoadBalancing.SelectionPolicy.(*Policy); ok {
					found[p] = staticAddresses(h.Upstreams)
				}
				for _, answer := range h.HandleResponse {
					searchRoutes(answer.Routes, found)
				}
			case *intercept.Intercept:
				for _, answer := range h.HandleResponse {
					searchRoutes(answer.Routes, found)
				}
			}
		}
	}
}

// staticAddresses returns the dial addresses that mean the same for all requests.
func staticAddresses(pool reverseproxy.UpstreamPool) (addresses []string) {
	for _, u := range pool {
		if dial := u.String(); !strings.Contains(dial, "{") && isHostPort(dial) {
			addresses = append(addresses, dial)
		}
	}
	return addresses
}

// checkFollowing refuses policies that follow one upstream differently: its
// events would be counted twice.
func checkFollowing(policies map[*Policy][]string) error {
	follows := make(map[string]*Events)
	for p, addresses := range policies {
		if p.Events == nil {
			continue
		}
		for _, address := range addresses {
			if other, known := follows[address]; known && !p.Events.same(other) {
				return fmt.Errorf("two kv_aware policies follow the upstream %s differently: give both the same events", address)
			}
			follows[address] = p.Events
		}
	}
	return nil
}
