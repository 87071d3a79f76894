// SPDX-License-Identifier: Apache-2.0

//go:build race

package radixcache

// raceEnabled tells whether the race detector is on, which makes tests ten times
// slower.
const raceEnabled = true
