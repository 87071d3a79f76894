// SPDX-License-Identifier: Apache-2.0

//go:build race

package harness

// UnderRace reports whether the race detector is on. It takes memory and time
// that tests of memory and of allocations must not see.
const UnderRace = true
