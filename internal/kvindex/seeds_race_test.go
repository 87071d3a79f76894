// SPDX-License-Identifier: Apache-2.0

//go:build race

package kvindex

// manySeeds is the number of seeds of a test with one goroutine: the race detector
// slows it down tenfold and has nothing to find there.
const manySeeds = 1
