// SPDX-License-Identifier: Apache-2.0

package enginesim

import "time"

// clock maps real time to simulated time: speed simulated seconds per real second,
// from 0 at start.
type clock struct {
	start time.Time
	speed float64
}

func newClock(speed float64) clock { return clock{start: time.Now(), speed: speed} }

// now returns the simulated time.
func (c clock) now() time.Duration {
	return time.Duration(float64(time.Since(c.start)) * c.speed)
}

// until returns the real time left until simulated time at.
func (c clock) until(at time.Duration) time.Duration {
	return time.Duration(float64(at)/c.speed) - time.Since(c.start)
}
