// SPDX-License-Identifier: Apache-2.0

package radixcache

import "runtime"

// No operation may keep others waiting for long, whatever the shape of the tree.
// The work between taking and releasing Tree.mu is counted, in claims, holders
// and lines touched: some 20 to 100 ns each, most of it for misses of the
// processor's cache and for atomic stores. Long operations let others in when
// the budget is used up.

const defaultWorkBudget = 1024

// lock takes the mutex.
func (t *Tree) lock() {
	t.mu.Lock()
	t.work = 0
}

// unlock releases it.
func (t *Tree) unlock() {
	t.mostWork = max(t.mostWork, t.work)
	t.work = 0
	t.mu.Unlock()
}

// overBudget tells whether it is time to let others in.
func (t *Tree) overBudget() bool { return t.work >= t.workBudget }

// yield lets others have the lock for a moment. What the caller knows of the
// tree may be wrong afterwards; the stamps of its operation stay.
func (t *Tree) yield() {
	stamp, floor := t.stamp, t.floor
	t.unlock()
	if t.onYield != nil {
		t.onYield()
	}
	runtime.Gosched()
	t.lock()
	t.stamp, t.floor = stamp, floor
}
