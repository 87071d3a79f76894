// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

const (
	// recentSize is the most values that recent holds.
	recentSize = 16
	// recentTime is the time for which a value stays recent.
	recentTime = time.Minute
)

// recent holds the values that were noted in the last minute. Of more values than
// it has room for it keeps the latest ones, a sample of all. The zero value is
// empty.
type recent[V comparable] struct {
	values [recentSize]recentValue[V]
	used   int
}

type recentValue[V comparable] struct {
	value V
	at    time.Time // when it was noted last
}

// note enters a value, in place of the one that was noted longest ago when there
// is no room.
func (r *recent[V]) note(v V, now time.Time) {
	oldest := 0
	for i := range r.values[:r.used] {
		if r.values[i].value == v {
			r.values[i].at = now
			return
		}
		if r.values[i].at.Before(r.values[oldest].at) {
			oldest = i
		}
	}
	if r.used < recentSize {
		oldest = r.used
		r.used++
	}
	r.values[oldest] = recentValue[V]{v, now}
}

// count returns the number of recent values for which a condition holds.
func (r *recent[V]) count(now time.Time, holds func(V) bool) (n int) {
	for _, v := range r.values[:r.used] {
		if now.Sub(v.at) < recentTime && holds(v.value) {
			n++
		}
	}
	return n
}
