// SPDX-License-Identifier: Apache-2.0

//go:build race

package lmcachesim_test

const underRace = true
