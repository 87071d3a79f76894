// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math/rand/v2"
	"testing"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

func TestIDTableAgainstMap(t *testing.T) {
	for seed := range seeds(20) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		var table idTable
		want := map[radixcache.Upstream]*upstream{}
		for range 2000 {
			id := radixcache.Upstream(rnd.IntN(300) << rnd.IntN(20))
			switch u := new(upstream); rnd.IntN(5) {
			case 0, 1:
				table.set(id, u)
				if id != 0 {
					want[id] = u
				}
			case 2:
				table.remove(id)
				delete(want, id)
			default:
				if got := table.find(id); got != want[id] {
					t.Fatalf("seed %d: %d is %p, want %p", seed, id, got, want[id])
				}
			}
			if table.count != len(want) {
				t.Fatalf("seed %d: %d ids, want %d", seed, table.count, len(want))
			}
		}
		for id, u := range want {
			if table.find(id) != u {
				t.Fatalf("seed %d: lost %d", seed, id)
			}
		}
	}
}
