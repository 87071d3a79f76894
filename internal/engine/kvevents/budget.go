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
	// publisher.
	shareDivisor = 2
	shareBurst   = 2 * time.Second
	// shareRest is the least debt that is worth a pause.
	minPause = time.Millisecond
	// A publisher is modest while it takes no more than one part in modestPart,
	// and modestBurst at once: a busy engine takes some hundredths of a core.
	modestDivisor = 16
	modestBurst   = time.Second
	// What it takes to receive a batch, beside applying it, is charged at these
	// rates: for each, and for each byte.
	receiveBatchCost = 2 * time.Microsecond
	receiveByteCost  = time.Nanosecond

	// All connections to a Listener of whom nobody knows who they are take one part
	// in strangersPart, and strangersBurst at once. They never owe more than
	// strangersMost, so that none of them waits for longer than a few seconds.
	unclaimedDivisor = 4
	unclaimedBurst   = time.Second
	unclaimedMaxDebt = time.Second

	// A publisher that sends maxNoise messages that are none within noiseTime
	// loses its connection.
	maxMalformed  = 1000
	malformedTime = 10 * time.Second
)

// account is what a publisher may still take of a core. Without a processor's
// clock for each goroutine, it is kept in time by the wall.
type budget struct {
	divisor time.Duration // of so many parts of the time, one is earned
	burst   time.Duration // the most that is saved, which it begins with
	debt    time.Duration // beyond what has been earned; below zero: saved
	at      time.Time     // of debt; zero: all is saved
}

// charge takes off what something cost, and returns the debt.
func (a *budget) charge(cost time.Duration, now time.Time) time.Duration {
	a.debt, a.at = a.balance(now)+max(cost, 0), now
	return a.debt
}

// balance returns the debt now.
func (a *budget) balance(now time.Time) time.Duration {
	if a.at.IsZero() {
		return -a.burst
	}
	return max(a.debt-max(now.Sub(a.at), 0)/a.divisor, -a.burst)
}

// atOnce is how many batches of publishers that are not modest are applied at the
// same time: half of the cores are left to others, however many these are.
func maxConcurrentApplies() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// turn waits until a batch may be applied, if the publisher is not modest. It is
// false when the follower is to end. done is to be called when it is applied.
func (sub *subscription) awaitTurn() (done func(), ok bool) {
	if sub.modest.balance(time.Now()) < 0 {
		return func() {}, true
	}
	select {
	case sub.subscriber.applying <- struct{}{}:
		return sub.subscriber.releaseTurn, true
	case <-sub.ctx.Done():
		return nil, false
	}
}

// applied gives a turn back.
func (s *Subscriber) releaseTurn() { <-s.applying }

// rest pauses when the publisher has taken more than its share.
func (sub *subscription) throttle(m message) {
	now := time.Now()
	cost := sub.applyTime + receiveBatchCost + time.Duration(len(m.payload))*receiveByteCost
	sub.applyTime = 0
	if sub.modest.charge(cost, now) > modestBurst { // it is to be modest again some time
		sub.modest.debt = modestBurst
	}
	if debt := sub.share.charge(cost, now); debt >= minPause {
		sub.pause(shareDivisor * debt)
	}
}
