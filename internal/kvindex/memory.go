// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"sync"
	"sync/atomic"
)

// LimitDivisor is the share of the limit that the index may take: one in so many.
const LimitDivisor = 4

const (
	segmentWords = 8192
	segmentBytes = segmentWords * 8
	// segmentCost is a segment with what refers to it: its place in the lists, or
	// the head of a page and its places in the directory.
	segmentCost = segmentBytes + 128
)

type uint64Word = atomic.Uint64

// segment is memory without pointers. Readers may set a bit in a word under a read
// lock, so words are atomic.
type segment [segmentWords]uint64Word

// clear zeroes a segment that was used before.
func (s *segment) clear() {
	for i := range s {
		s[i].Store(0)
	}
}

// memory counts what the index has allocated.
type memory struct {
	mu       sync.Mutex // held during reserve, so that it sees totals in order
	reserve  func(bytes int64)
	limit    int64 // of segments
	segments int64
	fixed    int64 // bytes of feeds and the index itself
}

// take counts n bytes for segments, or returns false when there is no room for them.
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

// release is the opposite of take, once nothing refers to the memory.
func (m *memory) release(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.segments -= n
	m.report()
}

// addFixed counts n bytes of what is small and bounded otherwise.
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

// over returns by how much the segments exceed the limit.
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
