// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

const (
	// demandMemory is the time over which demand is averaged: long against the
	// prefill of a prompt, short against the ups and downs of a day.
	demandMemory = 2 * time.Minute

	// busiest is how near to 1 a demand is believed, from below and, as 1/busiest,
	// from above: there, how long a queue will last depends on the last percent,
	// which nobody knows.
	maxDemand = 0.9
)

// demand is what an upstream was asked to do lately: how many requests came,
// and how much prefill they were predicted to take. The zero value is none.
type demand struct {
	requests float64 // fading
	work     float64 // ns, fading
	updated  time.Time
}

func (d *demand) add(now time.Time, work time.Duration) {
	left := d.remaining(now)
	d.requests = d.requests*left + 1
	d.work = d.work*left + float64(work)
	d.updated = now
}

// left is the share of what was counted that still counts: exponential fading,
// to the first order.
func (d *demand) remaining(now time.Time) float64 {
	return max(0, 1-float64(now.Sub(d.updated))/float64(demandMemory))
}

// of returns the share of its time that the upstream was asked to spend on
// prefill, above 1 when that is more than it can do, and the requests that came
// in a nanosecond.
func (d *demand) lately(now time.Time) (share, rate float64) {
	if d.requests == 0 {
		return 0, 0
	}
	scale := d.remaining(now) / float64(demandMemory)
	return d.work * scale, d.requests * scale
}
