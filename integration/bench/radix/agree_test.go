// SPDX-License-Identifier: Apache-2.0

package radix

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/radixcache/w1"
)

// A comparison means nothing unless all indexes answer right.
func TestAllAnswerRight(t *testing.T) {
	w := w1.New(200)
	ref := w.NewReference()
	for _, r := range rivals {
		x := r.newIndex(w.DistinctBlocks)
		build(w, x, w.Turns)
		if right, asked := check(x, ref, w.Queries(500, 1)); right != asked {
			t.Errorf("%s: %d of %d answers right", r.name, right, asked)
		}
		x.remove(3)
		for _, q := range w.Queries(200, 2) {
			var got answer
			x.lookup(q.Hashes, &got)
			want := ref.Longest(q.Hashes)
			want[3] = 0
			for up, n := range got {
				if int(n) != want[up] {
					t.Fatalf("%s without upstream 3: %d blocks for upstream %d, want %d", r.name, n, up, want[up])
				}
			}
		}
	}
}
