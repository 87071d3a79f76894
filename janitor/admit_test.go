// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"net/netip"
	"testing"
)

// validate recounts what the budget says of itself.
func (b *budget) validate(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	byClient := make(map[netip.Addr]int64)
	for l := range b.uploads {
		if !l.upload || l.closed {
			t.Errorf("upload list holds a lease that is none")
		}
		byClient[l.client] += l.held
	}
	for c, n := range b.byClient {
		if byClient[c] != n || n == 0 {
			t.Errorf("client %v: counted %d, sum %d", c, n, byClient[c])
		}
	}
	for _, w := range b.waiting {
		if !w.lease.waiting || w.lease.closed {
			t.Error("queue holds a waiter that does not wait")
		}
	}
}
