// SPDX-License-Identifier: Apache-2.0

//go:build race

package integration

// UnderRace says that the race detector slows everything down, so that times
// mean nothing.
const UnderRace = true
