// SPDX-License-Identifier: Apache-2.0

package w1

import "testing"

// All compared figures were measured on exactly this workload.
func TestWorkloadIsW1(t *testing.T) {
	if testing.Short() {
		t.Skip("generates all of W1")
	}
	w := New(20000)
	w.NewReference()
	if w.DistinctBlocks != 2973579 || w.Pairs != 3949613 || w.BlocksRecorded == 0 {
		t.Fatalf("%d distinct blocks, %d pairs: not W1", w.DistinctBlocks, w.Pairs)
	}
}
