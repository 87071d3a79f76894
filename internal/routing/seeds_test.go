// SPDX-License-Identifier: Apache-2.0

package routing

import "testing"

// seeds returns the number of seeds of a test: fewer in short mode.
func seeds(full int) uint64 {
	if testing.Short() {
		return uint64(max(1, full/5))
	}
	return uint64(full)
}
