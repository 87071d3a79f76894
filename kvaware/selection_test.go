// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestSelection(t *testing.T) {
	r := httptest.NewRequest("POST", "/", nil)
	repl := caddy.NewReplacer()
	repl.Set("node", "d:1")
	r = r.WithContext(contextWith(r, repl))
	var pool reverseproxy.UpstreamPool
	for _, dial := range []string{"a:1", "b:1", "c:1", "{node}"} {
		pool = append(pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: dial})
	}
	for range 2 { // the second time with memory that was used before
		for _, c := range []struct{ down, tried, want string }{
			{"", "", "a:1 b:1 c:1 d:1"},
			{"b:1", "", "a:1 c:1 d:1"},
			{"", "a:1", "b:1 c:1 d:1"},
			{"", "d:1 b:1", "a:1 c:1"},
			{"c:1", "a:1 {node} b:1", "d:1"},
			{"c:1 b:1 {node}", "a:1", "a:1"}, // there is no other: again
			{"a:1 b:1 c:1 {node}", "a:1", ""},
		} {
			p := &Policy{available: func(u *reverseproxy.Upstream) bool { return !slices.Contains(strings.Fields(c.down), u.Dial) }}
			s := p.selection(pool, &flight{tried: strings.Fields(c.tried)}, r)
			var got []string
			for i, target := range s.targets {
				got = append(got, target.Address)
				if address(s.upstreams[i], r) != target.Address {
					t.Errorf("%+v: upstream %d is not its target", c, i)
				}
			}
			if strings.Join(got, " ") != c.want || len(s.upstreams) != len(s.targets) {
				t.Errorf("%+v: got %q", c, got)
			}
			s.release()
			if len(s.upstreams[:cap(s.upstreams)]) > 0 && s.upstreams[:1][0] != nil {
				t.Error("memory that was given back still refers to an upstream")
			}
		}
	}
}
