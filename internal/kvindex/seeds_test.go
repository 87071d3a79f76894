// SPDX-License-Identifier: Apache-2.0

package kvindex

import "testing"

// seeds returns the number of seeds of a test with one goroutine: fewer in short mode.
func seeds(full int) uint64 {
	if testing.Short() {
		return uint64(max(1, full/10))
	}
	return uint64(full)
}
