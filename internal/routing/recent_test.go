// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// recent agrees with a plain list of all that was ever noted.
func TestRecent(t *testing.T) {
	type noted struct {
		value int
		at    time.Time
	}
	for seed := range seeds(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var r recent[int]
		var model []noted // the latest last, each value once
		now := epoch
		values := 1 + rnd.IntN(3*recentSize)
		for range 500 {
			now = now.Add(time.Duration(1 + rnd.Int64N(int64(recentTime)/10)))
			v := rnd.IntN(values)
			r.note(v, now)
			model = slices.DeleteFunc(model, func(n noted) bool { return n.value == v })
			model = append(model, noted{v, now})
			bound := rnd.IntN(values + 1)
			want := 0
			for _, n := range model[max(0, len(model)-recentSize):] {
				if now.Sub(n.at) < recentTime && n.value < bound {
					want++
				}
			}
			if got := r.count(now, func(v int) bool { return v < bound }); got != want {
				t.Fatalf("seed %d: %d values below %d, want %d", seed, got, bound, want)
			}
		}
	}
}
