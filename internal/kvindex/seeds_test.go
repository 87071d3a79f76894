// SPDX-License-Identifier: Apache-2.0

package kvindex

import "testing"

// seeds returns how many seeds a test of one goroutine goes through; in short mode
// fewer.
func seeds(full int) uint64 {
	if testing.Short() {
		return uint64(max(1, full/10))
	}
	return uint64(full)
}
