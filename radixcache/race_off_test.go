// SPDX-License-Identifier: Apache-2.0

//go:build !race

package radixcache

// raceEnabled is whether the race detector slows everything down tenfold.
const raceEnabled = false
