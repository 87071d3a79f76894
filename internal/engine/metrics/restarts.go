// SPDX-License-Identifier: Apache-2.0

package metrics

import "math"

const (
	// startTolerance is by how much the start of one process may differ from
	// reading to reading, in seconds: some compute it from the uptime.
	startTolerance = 1

	// calmReadings is after how many readings without a fall a fall of the
	// counters is believed again. An engine takes far longer to load a model;
	// one address with several engines behind it falls all the time.
	minSteadyReadings = 8
)

// life follows one engine's process through its readings, to tell when it was
// restarted: then its KV cache is empty. The zero value knows nothing yet.
type restartDetector struct {
	seen           bool
	last           Reading
	latestStart    float64 // the latest start seen
	steadyReadings int     // readings since the counters last fell
	hasFallen      bool    // they have before
}

// restarted takes a new reading and reports whether another process made it
// than the last one. Certain is only a start later than any before: a restart
// does not go back in time, but an address with several engines behind it does.
// Where starts are not told, counters that have fallen are the sign.
func (l *restartDetector) restarted(r Reading) bool {
	before := l.last
	first := !l.seen
	l.last, l.seen = r, true
	later := r.Started > l.latestStart+startTolerance
	l.latestStart = max(l.latestStart, r.Started)
	if r.Started > 0 && before.Started > 0 && math.Abs(r.Started-before.Started) > startTolerance {
		return later
	}
	if first || !fell(before, r) {
		l.steadyReadings++
		return false
	}
	believed := !l.hasFallen || l.steadyReadings >= minSteadyReadings
	l.hasFallen, l.steadyReadings = true, 0
	return believed
}

// same reports whether a reading is certainly of the process that made the
// last one.
func (l *restartDetector) same(r Reading) bool {
	return r.Started > 0 && l.last.Started > 0 && math.Abs(r.Started-l.last.Started) <= startTolerance && !fell(l.last, r)
}

// fell reports whether a counter is lower than it was.
func fell(before, after Reading) bool {
	for i, was := range before.totals {
		if now := after.totals[i]; was >= 0 && now >= 0 && now < was {
			return true
		}
	}
	return false
}
