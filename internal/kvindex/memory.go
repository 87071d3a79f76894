// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"sync"
	"sync/atomic"
)

// Share is which part of the limit the index may take for itself: one in so many.
const LimitDivisor = 4

const (
	segmentWords = 8192
	segmentBytes = segmentWords * 8
	// segmentCost is a segment with what finds it: its place in the lists, or the
	// head of a page and its places in the directory.
	segmentCost = segmentBytes + 128
)

// segment is memory without pointers. Readers under a read lock may set a bit in a
// word, so words are atomic.
type segment [segmentWords]atomic.Uint64

// clear takes out what a segment was used for before.
func (s *segment) clear() {
	for i := range s {
		s[i].Store(0)
	}
}

// memory is the account of what the index has allocated.
type memory struct {
	mu       sync.Mutex // held while reserve is told, so that it hears totals in order
	reserve  func(bytes int64)
	limit    int64 // of what is limited
	segments int64
	fixed    int64 // feeds, and the index itself
}

// take accounts for n bytes, or returns false when there is no room for them.
func (m *memory) take(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.segments+n > m.limit {
		return false
	}
	m.segments += n
	m.report()
	return true
}

// give is the opposite of take, for what nothing refers to any more.
func (m *memory) release(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.segments -= n
	m.report()
}

// fix accounts for n bytes of what is small and bounded otherwise.
func (m *memory) addFixed(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fixed += n
	m.report()
}

func (m *memory) report() {
	if m.reserve != nil {
		m.reserve(m.segments + m.fixed)
	}
}

func (m *memory) setLimit(limit int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = limit
}

func (m *memory) currentLimit() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.limit
}

// over is how much more is taken than the limit allows.
func (m *memory) over() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.segments - m.limit
}

// bytes returns what is allocated.
func (m *memory) bytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.segments + m.fixed
}
