// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/proxies"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// placement is a policy's place in its config.
type placement struct {
	upstreams reverseproxy.UpstreamPool // the static ones
	dynamic   bool                      // there are others, which only requests show
	janitor   *janitor.Handler          // the last one ahead of the proxy, or nil
}

// placements returns the kv_aware policies of a config.
func placements(ctx caddy.Context) map[*Policy]*placement {
	found := make(map[*Policy]*placement)
	for _, proxy := range proxies.All(ctx) {
		p, ok := proxy.Policy().(*Policy)
		if !ok {
			continue
		}
		if found[p] == nil {
			found[p] = &placement{upstreams: proxy.Upstreams, dynamic: proxy.DynamicUpstreams != nil}
		}
		if j := lastJanitor(proxy.Ahead); j != nil {
			found[p].janitor = j
		}
	}
	return found
}

// lastJanitor returns the janitor whose Exchange the proxy sees, or nil.
func lastJanitor(ahead []caddyhttp.MiddlewareHandler) (last *janitor.Handler) {
	for _, handler := range ahead {
		if j, ok := handler.(*janitor.Handler); ok {
			last = j
		}
	}
	return last
}

// isStatic reports whether the config names all upstreams.
func (l *placement) isStatic() bool {
	placeholder := func(u *reverseproxy.Upstream) bool { return strings.Contains(u.String(), "{") }
	return l != nil && !l.dynamic && len(l.upstreams) > 0 && !slices.ContainsFunc(l.upstreams, placeholder)
}

// addresses returns the dial addresses that mean the same for all requests.
func (l *placement) addresses() (addresses []string) {
	for _, u := range l.upstreams {
		if dial := u.String(); !strings.Contains(dial, "{") && endpoint.IsHostPort(dial) {
			addresses = append(addresses, dial)
		}
	}
	return addresses
}

// checkFollowing refuses policies that follow one upstream differently: its
// events would be counted twice.
func checkFollowing(places map[*Policy]*placement) error {
	follows := make(map[string]*following.Events)
	for p, place := range places {
		events := p.eventsSubscriber.Events
		if events == nil {
			continue
		}
		for _, address := range place.addresses() {
			if other := follows[address]; other != nil && *other != *events {
				return fmt.Errorf("two kv_aware policies follow the upstream %s differently: give both the same events", address)
			}
			follows[address] = events
		}
	}
	return nil
}
