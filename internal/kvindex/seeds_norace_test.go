// SPDX-License-Identifier: Apache-2.0

//go:build !race

package kvindex

// manySeeds is how many seeds a test of one goroutine goes through.
const manySeeds = 6
