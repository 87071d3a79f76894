// SPDX-License-Identifier: Apache-2.0

//go:build race

package kvindex

// manySeeds is how many seeds a test of one goroutine goes through: with the
// race detector, which slows it down tenfold and has nothing to find, one.
const manySeeds = 1
