// SPDX-License-Identifier: Apache-2.0

package fleet

import "time"

const (
	// demandMemory is the time over which demand is averaged: long against the
	// prefill of a prompt, short against the ups and downs of a day.
	demandMemory = 2 * time.Minute

	// busiest is the demand above which it is not believed: near 1 a queue's
	// length depends on the last percent, which nobody knows.
	busiest = 0.9
)

// demand is the share of its time that an upstream is asked to spend on
// prefill: the predicted cost of what was sent there, over the time. It is
// above 1 when more is sent than it can do.
type demand struct {
	work time.Duration // fading
	at   time.Time
}

func (d *demand) add(now time.Time, work time.Duration) {
	d.work = d.faded(now) + work
	d.at = now
}

// faded is exponential fading, to the first order.
func (d *demand) faded(now time.Time) time.Duration {
	left := demandMemory - now.Sub(d.at)
	if left <= 0 {
		return 0
	}
	return time.Duration(float64(d.work) * (float64(left) / float64(demandMemory)))
}

func (d *demand) share(now time.Time) float64 {
	return float64(d.faded(now)) / float64(demandMemory)
}
