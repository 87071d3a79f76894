// SPDX-License-Identifier: Apache-2.0

package zmtp

import "sync/atomic"

// freeBuffer is what a message under way may take without being counted, in
// bytes, so that one who uses up the budget does not harm others' small ones.
const freeBuffer = 64 << 10

// Budget bounds what large messages under way take on all connections that
// share it. A connection that would exceed it ends with ErrMemory. What was
// received is the caller's and does not count any more. The first 64 KiB of
// each connection are free. It is safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a Budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

// Used returns how many bytes are taken.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// take takes memory of a connection, unless that were too much.
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

// give gives memory back that was taken with the same size.
func (b *Budget) give(size int) {
	if counted := int64(max(0, size-freeBuffer)); b != nil && counted > 0 {
		b.used.Add(-counted)
	}
}
