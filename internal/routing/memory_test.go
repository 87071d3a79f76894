// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/kvindex"
)

// The tree and the KV index together stay within the limit, whichever of them grows
// and whenever the limit changes.
func TestTreeAndIndexShareTheLimit(t *testing.T) {
	rt, _ := newTestRouter()
	for _, limit := range []int64{8 << 20, 2 << 20, 4 << 20} {
		rt.SetLimit(limit)
		space := rt.Index().Space(TokenKey{Model: "m", BlockTokens: engineBlock})
		for i := range uint64(2000) {
			rt.Index().Link(space, []uint64{i}, []kvindex.Anchor{{Tokens: engineBlock, Exact: true}}, make([]uint32, engineBlock))
		}
		s := rt.Stats()
		if rt.Limit() != limit || s.Limit != limit || s.IndexBytes < 64<<10 || s.Bytes > limit {
			t.Errorf("limit %d: %+v", limit, s)
		}
		if got := rt.tree.Limit() + s.IndexBytes; got != limit {
			t.Errorf("limit %d is divided into %d for the tree and %d for the index", limit, rt.tree.Limit(), s.IndexBytes)
		}
	}
}
