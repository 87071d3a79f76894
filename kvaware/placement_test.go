// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// at returns the placement of a policy with static upstreams.
func at(dials ...string) *placement {
	l := new(placement)
	for _, dial := range dials {
		l.upstreams = append(l.upstreams, &reverseproxy.Upstream{Dial: dial})
	}
	return l
}

func TestStaticAddresses(t *testing.T) {
	l := at("a:8000", "{http.vars.node}:8000", "unix//run/engine.sock", "[::1]:8000", "b", "c:1-9", ":8000")
	if got := l.addresses(); !slices.Equal(got, []string{"a:8000", "[::1]:8000"}) {
		t.Errorf("got %v", got)
	}
}

func TestTheLastJanitorCounts(t *testing.T) {
	first, last := new(janitor.Handler), new(janitor.Handler)
	if got := lastJanitor([]caddyhttp.MiddlewareHandler{first, new(caddyhttp.Subroute), last}); got != last {
		t.Error("it is not the last one ahead of the proxy")
	}
	if lastJanitor(nil) != nil {
		t.Error("a janitor is found where none is")
	}
}

// Two policies cannot follow one upstream in different ways; one that does not
// follow it is in nobody's way.
func TestCheckFollowing(t *testing.T) {
	follow := func(address string) *Policy {
		p := &Policy{Events: &Events{Address: address}}
		p.subscribe()
		return p
	}
	a, same, other, none := follow("tcp://a:1"), follow("tcp://a:1"), follow("tcp://a:2"), &Policy{eventsSubscriber: new(following.Subscriber)}
	if err := checkFollowing(map[*Policy]*placement{a: at("a:8000"), same: at("a:8000"), other: at("b:8000"), none: at("a:8000")}); err != nil {
		t.Errorf("unexpected error: %v", err)
	}
	err := checkFollowing(map[*Policy]*placement{a: at("a:8000"), other: at("b:8000", "a:8000")})
	if err == nil || !strings.Contains(err.Error(), "follow the upstream a:8000 differently") {
		t.Errorf("error %v", err)
	}
}
