// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"runtime"
	"time"
)

const (
	// A publisher's batches take one part in sharePart of a core over time, and
	// shareBurst of it at once: a history, or what came while the machine was
	// busy. Beyond, the next one waits; so do those behind it, and then the
	// publisher. A busy engine takes some hundredths of a core.
	sharePart  = 2
	shareBurst = 2 * time.Second
	// shareRest is the least debt that is worth a pause.
	shareRest = time.Millisecond
	// What it takes to receive a batch, beside applying it, is charged at these
	// rates: for each, and for each byte.
	receiveBatch = 2 * time.Microsecond
	receiveByte  = time.Nanosecond

	// A publisher that sends maxNoise messages that are none within noiseTime
	// loses its connection.
	maxNoise  = 1000
	noiseTime = 10 * time.Second
)

// share is what a publisher may still take of a core. The zero value may take a
// burst.
type share struct {
	debt time.Duration // beyond what has been earned; below zero: saved
	at   time.Time     // of the last charge
}

// charge takes off what something cost, and returns how long to rest for it.
// Without a processor's clock for each goroutine, costs are times by the wall.
func (s *share) charge(cost time.Duration, now time.Time) (rest time.Duration) {
	earned := shareBurst
	if !s.at.IsZero() {
		earned = now.Sub(s.at) / sharePart
	}
	s.at = now
	s.debt = max(s.debt-max(earned, 0), -shareBurst) + max(cost, 0)
	if s.debt < shareRest {
		return 0
	}
	return sharePart * s.debt
}

// atOnce is how many batches are applied at the same time: half of the cores are
// left to others, whatever publishers say.
func atOnce() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// turn waits until a batch may be applied. It is false when the follower is to
// end. The turn is given back by reading from applying.
func (f *follower) turn() bool {
	select {
	case f.set.applying <- struct{}{}:
		return true
	case <-f.ctx.Done():
		return false
	}
}

// rest pauses when the publisher has taken more than its share.
func (f *follower) rest(m message) {
	cost := f.worked + receiveBatch + time.Duration(len(m.payload))*receiveByte
	f.worked = 0
	if d := f.share.charge(cost, time.Now()); d > 0 {
		f.pause(d)
	}
}
