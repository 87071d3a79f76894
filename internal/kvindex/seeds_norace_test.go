// SPDX-License-Identifier: Apache-2.0

//go:build !race

package kvindex

// manySeeds is the number of seeds of a test with one goroutine.
const manySeeds = 6
