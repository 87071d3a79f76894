// SPDX-License-Identifier: Apache-2.0

package sensitive

import (
	"slices"
	"sync"
	"sync/atomic"
)

// watch is who keeps the arenas; nil, as ever but in tests: nobody does.
var watch atomic.Pointer[Tracker]

// Arena is a piece of memory that values may be in.
type Buffer struct {
	Purpose string // what it is for
	Bytes   []byte // all of it
}

// Watch keeps arenas for a test to look into.
type Tracker struct {
	mu  sync.Mutex
	all []Buffer
}

// Observe keeps every arena from now on, also those that nobody uses any more,
// so that none is collected. There is one Watch at a time; End ends it. Product
// code has no use for it.
func Track() *Tracker {
	w := new(Tracker)
	watch.Store(w)
	return w
}

// Enter makes memory known as an arena that was not made here.
func Register(of string, b []byte) {
	if w := watch.Load(); w != nil {
		w.mu.Lock()
		w.all = append(w.all, Buffer{of, b[:cap(b)]})
		w.mu.Unlock()
	}
}

// All returns the arenas that were made, with all of their memory. Who reads
// it has to know that nobody writes any more.
func (w *Tracker) Buffers() []Buffer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// End lets go of all arenas.
func (w *Tracker) Stop() {
	watch.CompareAndSwap(w, nil)
	w.mu.Lock()
	w.all = nil
	w.mu.Unlock()
}
