// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// BenchmarkFilterByModel64 measures refreshing and filtering 64 upstreams for one
// request.
func BenchmarkFilterByModel64(b *testing.B) {
	for _, c := range []struct {
		name string
		list func(i int) string
	}{
		{"same models", func(int) string { return "m" }},
		{"other models", func(i int) string { return []string{"m", "n"}[i%2] }},
	} {
		b.Run(c.name, func(b *testing.B) {
			lists := make(modelLists)
			pool := make(reverseproxy.UpstreamPool, 64)
			for i := range pool {
				dial := fmt.Sprintf("node-%d:8000", i)
				pool[i] = &reverseproxy.Upstream{Dial: dial}
				lists[dial] = listing(c.list(i))
			}
			p := newListingPolicy(lists)
			defer p.shared.Destruct()
			r := httptest.NewRequest("POST", "/", nil)
			r = r.WithContext(contextWith(r, caddy.NewReplacer()))
			p.refreshUpstreams(pool, r)
			for known := 0; known < len(pool); { // read in the background
				known = 0
				for _, u := range pool {
					if _, ok := p.shared.upstreams.Models().Has(u.Dial, "m"); ok {
						known++
					}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				p.refreshUpstreams(pool, r)
				if len(p.filterByModel(pool, "chat", "m", r)) == 0 {
					b.Fatal("no upstream serves it")
				}
			}
		})
	}
}
