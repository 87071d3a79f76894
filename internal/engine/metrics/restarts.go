// SPDX-License-Identifier: Apache-2.0

package metrics

import "math"

const (
	// startTolerance is the difference, in seconds, between two start times of
	// one process: some engines compute the start from the uptime.
	startTolerance = 1

	// After counters have fallen once, they must not fall for minSteadyReadings
	// until a further fall means a restart. An engine takes far longer to load a
	// model; counters of an address with several engines behind it fall all the
	// time.
	minSteadyReadings = 8
)

// restartDetector compares the readings of one engine to find restarts, which
// empty its KV cache. The zero value is ready.
type restartDetector struct {
	seen           bool // last is set
	last           Reading
	latestStart    float64 // of all readings
	steadyReadings int     // readings since the counters last fell
	hasFallen      bool    // the counters fell at least once
}

// restarted takes the next reading and reports whether it is of another process
// than the last one. A start time later than all before proves a restart. An
// earlier one does not: several engines may answer at one address. Where start
// times are missing, falling counters are the sign.
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

// same reports whether a reading is certainly of the same process as the last.
func (l *restartDetector) same(r Reading) bool {
	return r.Started > 0 && l.last.Started > 0 && math.Abs(r.Started-l.last.Started) <= startTolerance && !fell(l.last, r)
}

// resetWhileIdle reports whether a reading shows that the engine has emptied its prefix
// cache since the last one, and done nothing else. vLLM publishes that only with its
// next step. A busy engine may have refused to, and publishes it soon if it has not.
func (l *restartDetector) resetWhileIdle(r Reading) bool {
	sameProcess := math.Abs(r.Started-l.last.Started) <= startTolerance && r.totals == l.last.totals && r.totals[promptTokens] >= 0
	return l.seen && sameProcess && r.resets > l.last.resets && l.last.idle() && r.idle()
}

// fell reports whether any counter is lower than before.
func fell(before, after Reading) bool {
	for i, was := range before.totals {
		if now := after.totals[i]; was >= 0 && now >= 0 && now < was {
			return true
		}
	}
	return false
}
