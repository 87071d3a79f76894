// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"sync/atomic"
	"unsafe"
)

// Upstream is the id of a registered upstream. It is valid from Register to
// Unregister; an id is not given out again for a long time after that (2^19 uses of its
// slot). 0 is never valid. Calls with an invalid id do nothing.
type Upstream uint32

// MaxUpstreams bounds the upstreams that are registered at a time.
const MaxUpstreams = maxHolders

const (
	slotBits       = 13 // slot+1 in the low bits of an id, generation above
	numGenerations = 1 << (32 - slotBits)
)

func newUpstreamID(slot int, generation uint32) Upstream {
	return Upstream(slot+1) | Upstream(generation)<<slotBits
}

// slot is below 0 for id 0, and may be above MaxUpstreams.
func (id Upstream) slot() int { return int(id&(1<<slotBits-1)) - 1 }

// upstream is the state of a registered upstream. It is read and written under
// Tree.mu only.
type upstream struct {
	name       string
	id         Upstream
	slot       int
	oldest     uint32 // claims by age
	youngest   uint32
	roots      uint32 // first claim on a run at depth 0
	blocks     int    // in its claims
	tokens     int64  // these blocks stand for
	heapKey    uint64 // at most the stamp of its oldest claim
	inHeap     bool
	heapIndex  int
	pathEnd    uint32 // claim that is lowering or raising, the last of the path, see propagate.go
	emptyClaim uint32 // claim that is of no use any more, to be dropped
}

// A registered upstream is charged for itself, its name, and its share of the
// table of names, which Go never makes smaller.
const upstreamBytes = int64(unsafe.Sizeof(upstream{})) + 160

// upstreamOf returns the upstream of a valid id, or nil.
func (t *Tree) upstreamOf(id Upstream) *upstream {
	slot := id.slot()
	if slot < 0 || slot >= len(t.ups) || t.ups[slot] == nil || t.ups[slot].id != id {
		return nil
	}
	return t.ups[slot]
}

// Register returns the id of the upstream with this name, a new one when the
// name is unknown. It returns 0 when MaxUpstreams are registered or the limit
// leaves no room for another name.
func (t *Tree) Register(name string) Upstream {
	t.lock()
	defer t.unlock()
	slot := -1
	for {
		if u := t.names[name]; u != nil {
			return u.id
		}
		slot = t.freeSlot()
		cost := int64(len(name)) + t.newSlotBytes(slot)
		if slot < 0 || !t.charge(cost) {
			return 0
		}
		if t.names[name] == nil && t.freeSlot() == slot {
			break
		}
		t.refund(cost) // another call came first
	}
	if slot == len(t.ups) {
		t.ups = append(t.ups, nil)
		t.generations = append(t.generations, 0)
	}
	t.generations[slot] = (t.generations[slot] + 1) % numGenerations
	id := newUpstreamID(slot, t.generations[slot])
	u := &upstream{name: name, id: id, slot: slot}
	t.ups[slot] = u
	t.names[name] = u
	t.evicted.set(slot, false)
	t.ids[slot].Store(uint32(id))
	return id
}

// freeSlot returns an unused slot, or -1.
func (t *Tree) freeSlot() int {
	for i, u := range t.ups {
		if u == nil {
			return i
		}
	}
	if len(t.ups) < MaxUpstreams {
		return len(t.ups)
	}
	return -1
}

// newSlotBytes is the charge for the first use of a slot. It is never refunded.
func (t *Tree) newSlotBytes(slot int) int64 {
	if slot < len(t.ups) {
		return 0
	}
	return upstreamBytes
}

// Forget drops everything an upstream was known to hold (it was restarted); its
// id stays. It works in small steps, oldest claims first: other calls get in
// between, lookups never wait.
func (t *Tree) Forget(up Upstream) {
	t.lock()
	defer t.unlock()
	t.forget(up, 0)
	if u := t.upstreamOf(up); u != nil {
		t.evicted.set(u.slot, false)
	}
}

// Unregister drops everything an upstream was known to hold, and its id. Lookups
// stop naming it at once; its claims go in small steps as with Forget.
func (t *Tree) Unregister(up Upstream) {
	t.lock()
	defer t.unlock()
	u := t.upstreamOf(up)
	if u == nil {
		return
	}
	delete(t.names, u.name)
	t.ids[u.slot].Store(0)
	u.id = 0 // Inserts that wait for the lock find it gone
	for u.oldest != 0 {
		t.dropClaim(u.nextToDrop())
		if t.overBudget() {
			t.yield()
		}
	}
	t.removeFromHeap(u)
	t.ups[u.slot] = nil
	t.charge(-int64(len(u.name)))
}

// Trim forgets the oldest claims of an upstream until what is left stands for at
// most this many tokens: the capacity of its KV cache.
func (t *Tree) Trim(up Upstream, tokens int64) {
	t.lock()
	defer t.unlock()
	t.forget(up, max(tokens, 0))
}

// forget drops the oldest claims of an upstream, down to a number of tokens.
func (t *Tree) forget(up Upstream, tokens int64) {
	start := t.startOperation()
	for u := t.upstreamOf(up); u != nil && u.oldest != 0; u = t.upstreamOf(up) {
		if u.emptyClaim == 0 && (tokens > 0 && u.tokens <= tokens || t.claim(u.oldest).stamp.Load() > start) {
			return
		}
		t.dropClaim(u.nextToDrop())
		if t.overBudget() {
			t.yield()
		}
	}
}

// nextToDrop returns a claim without child claims: the empty one or the oldest.
func (u *upstream) nextToDrop() uint32 {
	if u.emptyClaim != 0 {
		return u.emptyClaim
	}
	return u.oldest
}

// slotSet is a set of upstreams by slot that can be read without a lock.
type slotSet [MaxUpstreams / 64]atomic.Uint64

func (s *slotSet) has(slot int) bool { return s[slot/64].Load()>>(slot%64)&1 != 0 }

// set puts a slot into the set or takes it out. The caller holds Tree.mu.
func (s *slotSet) set(slot int, in bool) {
	w, bit := &s[slot/64], uint64(1)<<(slot%64)
	if in {
		w.Store(w.Load() | bit)
	} else {
		w.Store(w.Load() &^ bit)
	}
}

// Evicted tells whether claims of up were dropped at the ceiling since it was
// registered or last forgotten. Then up may hold more than the tree knows of. It
// takes no lock.
func (t *Tree) Evicted(up Upstream) bool {
	slot := up.slot()
	return slot >= 0 && slot < MaxUpstreams && t.ids[slot].Load() == uint32(up) && t.evicted.has(slot)
}
