// SPDX-License-Identifier: Apache-2.0

//go:build race

package replay

// raceDetector makes the long comparisons skip, which would take minutes.
const raceDetector = true
