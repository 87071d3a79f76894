// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	clock := &testClock{testStart}
	b := NewBudget(clock.now)
	drain := func() (n int) {
		for b.Retry() {
			n++
		}
		return n
	}
	if got := drain(); got != retriesPerSecond*budgetSeconds {
		t.Errorf("%d retries at once, want the reserve of %d", got, retriesPerSecond*budgetSeconds)
	}
	clock.advance(time.Second)
	if got := drain(); got != retriesPerSecond {
		t.Errorf("%d retries after a second without traffic, want %d", got, retriesPerSecond)
	}
	for range 100 {
		b.Request()
	}
	if got := drain(); got < 19 || got > 20 {
		t.Errorf("%d retries after 100 requests, want a fifth", got)
	}
	clock.advance(time.Hour)
	if got := drain(); got > 2*retriesPerSecond*budgetSeconds {
		t.Errorf("%d retries were saved up", got)
	}
	clock.advance(-time.Hour) // a clock that is set back gives nothing
	if drain() != 0 {
		t.Error("retries from a clock that was set back")
	}
}
