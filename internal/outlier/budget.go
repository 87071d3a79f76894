// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"sync"
	"time"
)

const (
	// retryShare is the share of requests that may be retried, and
	// retriesPerSecond the number that may be at any traffic. Both are Finagle's
	// defaults (RetryBudget).
	retryShare       = 0.2
	retriesPerSecond = 10
	// budgetSeconds bounds what is saved: the reserve of ten seconds.
	budgetSeconds = 10
)

// Budget bounds retries to a share of the requests, so that many failures at once
// do not multiply the load on what is left. It is safe for concurrent use.
type Budget struct {
	now func() time.Time

	mu     sync.Mutex
	tokens float64
	at     time.Time // of the last refill
}

// NewBudget returns a full budget.
func NewBudget(now func() time.Time) *Budget {
	return &Budget{now: now, tokens: retriesPerSecond * budgetSeconds, at: now()}
}

// Request adds the share of one request.
func (b *Budget) Request() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(retryShare)
}

// Retry takes one retry from the budget. It reports false when none is left.
func (b *Budget) Retry() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.add(max(0, now.Sub(b.at).Seconds()) * retriesPerSecond)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// add adds tokens up to the bound. The caller holds mu.
func (b *Budget) add(tokens float64) {
	const most = 2 * retriesPerSecond * budgetSeconds
	b.tokens = min(most, b.tokens+tokens)
}
