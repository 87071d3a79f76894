// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// BenchmarkServing64 measures what it costs a request that upstreams are asked
// for their metrics and models: noting that they are in use, and leaving out
// those without the model.
func BenchmarkServing64(b *testing.B) {
	for _, c := range []struct {
		name string
		list func(i int) string
	}{
		{"same models", func(int) string { return "m" }},
		{"other models", func(i int) string { return []string{"m", "n"}[i%2] }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newShared(2_000_000, time.Now)
			defer s.Destruct()
			bodies := &pages{bodies: map[string]string{}}
			s.engines = newEngines(s.router, time.Now, bodies)
			p := &Policy{Metrics: DefaultMetrics, shared: s, sight: new(sight)}
			p.available = func(*reverseproxy.Upstream) bool { return true }
			pool := make(reverseproxy.UpstreamPool, 64)
			for i := range pool {
				dial := fmt.Sprintf("node-%d:8000", i)
				pool[i] = &reverseproxy.Upstream{Dial: dial}
				bodies.set(dial+"/v1/models", `{"data":[{"id":"`+c.list(i)+`"}]}`)
			}
			r := httptest.NewRequest("POST", "/", nil)
			r = r.WithContext(contextWith(r, caddy.NewReplacer()))
			p.see(pool, r)
			for known := 0; known < len(pool); { // asked in the background
				known = 0
				for _, u := range pool {
					if _, ok := s.engines.watch.Models().Has(u.Dial, "m"); ok {
						known++
					}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				p.see(pool, r)
				if len(p.serving(pool, "m", r)) == 0 {
					b.Fatal("nobody serves it")
				}
			}
		})
	}
}
