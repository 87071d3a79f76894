// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

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

func TestUpstreamsAreRefreshedOnceASecond(t *testing.T) {
	var u throttle
	now := time.Unix(1000, 0)
	if !u.due(refreshInterval, now) || u.due(refreshInterval, now) || u.due(refreshInterval, now.Add(refreshInterval-1)) || !u.due(refreshInterval, now.Add(refreshInterval)) {
		t.Fatal("not once a second")
	}
}
