// SPDX-License-Identifier: Apache-2.0

package zmtp

import "sync/atomic"

// freeBuffer is not counted of each message under way, in bytes: a peer that uses
// up the budget must not stop small messages of others.
const freeBuffer = 64 << 10

// Budget bounds the memory of large messages under way on all connections that
// share it. A connection that would exceed it ends with ErrMemory. Received
// messages are the caller's and do not count. The first 64 KiB of each connection
// are free. It is safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a Budget of a number of bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

// Used returns the number of bytes taken.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// take takes memory for a connection and returns false if it exceeds the limit.
func (b *Budget) take(size int) bool {
	counted := int64(max(0, size-freeBuffer))
	if b == nil || counted == 0 {
		return true
	}
	if b.used.Add(counted) > b.limit {
		b.used.Add(-counted)
		return false
	}
	return true
}

// give returns memory that was taken with the same size.
func (b *Budget) give(size int) {
	if counted := int64(max(0, size-freeBuffer)); b != nil && counted > 0 {
		b.used.Add(-counted)
	}
}
