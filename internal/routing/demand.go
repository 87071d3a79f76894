// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

const (
	// demandMemory is the time over which demand is averaged: long against the
	// prefill of a prompt, short against the ups and downs of a day.
	demandMemory = 2 * time.Minute

	// maxDemand bounds how close to 1 a demand is believed, from below and, as
	// 1/maxDemand, from above. Closer than that, the last percent decides how long
	// a queue lasts, and it is not known.
	maxDemand = 0.9
)

// demand is the work an upstream was sent lately: requests, and the prefill they
// were predicted to take. The zero value is none.
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

// remaining is the share of earlier counts that still counts: exponential decay,
// to the first order.
func (d *demand) remaining(now time.Time) float64 {
	return max(0, 1-float64(now.Sub(d.updated))/float64(demandMemory))
}

// lately returns the share of its time that the upstream was asked to spend on
// prefill, above 1 when that is more than it can do, and the requests that came
// per nanosecond.
func (d *demand) lately(now time.Time) (share, rate float64) {
	if d.requests == 0 {
		return 0, 0
	}
	scale := d.remaining(now) / float64(demandMemory)
	return d.work * scale, d.requests * scale
}
