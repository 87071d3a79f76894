// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"runtime"
	"time"
)

const (
	// A publisher's batches take one part in shareDivisor of a core over time, and
	// shareBurst at once, such as for a history. Beyond that, its next batch waits,
	// then those behind it, and then the publisher.
	shareDivisor = 2
	shareBurst   = 2 * time.Second
	// minPause is the least debt that is worth a pause.
	minPause = time.Millisecond
	// A publisher is modest while it takes no more than one part in modestDivisor
	// of a core, and modestBurst at once. A busy engine takes some hundredths.
	modestDivisor = 16
	modestBurst   = time.Second
	// Receiving is charged at these rates, for each batch and each byte.
	receiveBatchCost = 2 * time.Microsecond
	receiveByteCost  = time.Nanosecond

	// All waiting connections of a Listener together take one part in
	// unclaimedDivisor of a core, and unclaimedBurst at once. Their debt never
	// exceeds unclaimedMaxDebt, so that none waits for more than a few seconds.
	unclaimedDivisor = 4
	unclaimedBurst   = time.Second
	unclaimedMaxDebt = time.Second

	// A publisher that sends maxMalformed messages that are no batches within
	// malformedTime loses its connection.
	maxMalformed  = 1000
	malformedTime = 10 * time.Second
)

// budget is the share of a core that a publisher may still use. It is kept in
// wall-clock time, since goroutines have no processor clock.
type budget struct {
	divisor time.Duration // one part in divisor of the time is earned
	burst   time.Duration // limit of the savings, and the initial saving
	debt    time.Duration // at the time at; negative: saved
	at      time.Time     // zero: burst is saved
}

// charge spends a cost and returns the debt.
func (a *budget) charge(cost time.Duration, now time.Time) time.Duration {
	a.debt, a.at = a.balance(now)+max(cost, 0), now
	return a.debt
}

// balance returns the debt at a time.
func (a *budget) balance(now time.Time) time.Duration {
	if a.at.IsZero() {
		return -a.burst
	}
	return max(a.debt-max(now.Sub(a.at), 0)/a.divisor, -a.burst)
}

// maxConcurrentApplies bounds the batches that are applied at the same time, without
// those of modest publishers. Half of the cores stay free.
func maxConcurrentApplies() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// awaitTurn waits until a batch may be applied, if the publisher is not modest.
// Call done when it is applied. ok is false when the subscription is to end.
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

// releaseTurn gives a turn back.
func (s *Subscriber) releaseTurn() { <-s.applying }

// throttle pauses when the publisher has taken more than its share.
func (sub *subscription) throttle(m message) {
	now := time.Now()
	cost := sub.applyTime + receiveBatchCost + time.Duration(len(m.payload))*receiveByteCost
	sub.applyTime = 0
	if sub.modest.charge(cost, now) > modestBurst { // it must become modest again some time
		sub.modest.debt = modestBurst
	}
	if debt := sub.share.charge(cost, now); debt >= minPause {
		sub.pause(shareDivisor * debt)
	}
}
