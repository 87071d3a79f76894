// SPDX-License-Identifier: Apache-2.0

package sensitive

import (
	"slices"
	"sync"
	"sync/atomic"
)

// tracker is the Tracker in use. It is nil outside of tests.
var tracker atomic.Pointer[Tracker]

// Buffer is a piece of sensitive memory.
type Buffer struct {
	Purpose string
	Bytes   []byte // the whole capacity
}

// Tracker collects buffers for a test to look into.
type Tracker struct {
	mu      sync.Mutex
	buffers []Buffer
}

// Track starts to collect every buffer that is made, and replaces the tracker
// before. The garbage collector frees none of them until Stop. It is for tests
// only.
func Track() *Tracker {
	t := new(Tracker)
	tracker.Store(t)
	return t
}

// Register adds a buffer that Make did not make.
func Register(purpose string, b []byte) {
	if t := tracker.Load(); t != nil {
		t.mu.Lock()
		t.buffers = append(t.buffers, Buffer{purpose, b[:cap(b)]})
		t.mu.Unlock()
	}
}

// Buffers returns every buffer collected so far. The caller makes sure that
// nothing writes to one while it reads.
func (t *Tracker) Buffers() []Buffer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.buffers)
}

// Stop ends the tracking and lets go of all buffers.
func (t *Tracker) Stop() {
	tracker.CompareAndSwap(t, nil)
	t.mu.Lock()
	t.buffers = nil
	t.mu.Unlock()
}
