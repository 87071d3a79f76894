// SPDX-License-Identifier: Apache-2.0

package radixcache

import "unsafe"

// Upstream is the id of a registered upstream. It is valid from Register to
// Remove; an id is not given out again for a long time after that (2^19 uses of its
// slot). 0 is never valid. Calls with an invalid id do nothing.
type Upstream uint32

// MaxUpstreams is how many upstreams can be registered at a time.
const MaxUpstreams = maxHolders

const slotBits = 13 // slot+1 in the low bits of an id, generation above

// upstream is what the tree knows of one. The caller of its methods holds Tree.mu.
type upstream struct {
	name       string
	id         Upstream
	slot       int
	oldest     uint32 // claims by age
	youngest   uint32
	roots      uint32 // first claim on a run at depth 0
	blocks     int    // that it claims
	tokens     int64  // that these stand for
	heapKey    uint64 // in the heap: at most the stamp of its oldest claim
	inHeap     bool   // in the heap
	heapIndex  int    // where
	pathEnd    uint32 // claim at the end of the path, see mend.go
	emptyClaim uint32 // claim that has no use any more
}

// A registered upstream is charged for itself, its name, and its share of the
// table of names, which Go never makes smaller.
const upstreamBytes = int64(unsafe.Sizeof(upstream{})) + 160

// upstreamOf returns the upstream of a valid id, or nil.
func (t *Tree) upstreamOf(id Upstream) *upstream {
	slot := int(id&(1<<slotBits-1)) - 1
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
		t.refund(cost) // others came first meanwhile
	}
	if slot == len(t.ups) {
		t.ups = append(t.ups, nil)
		t.generations = append(t.generations, 0)
	}
	t.generations[slot] = (t.generations[slot] + 1) % (1 << (32 - slotBits))
	id := Upstream(slot+1) | Upstream(t.generations[slot])<<slotBits
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

// newSlotBytes is what a slot costs the first time it is used; it stays charged.
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

// Remove drops everything an upstream was known to hold, and its id. Lookups
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

// leaf returns the claim that goes first.
func (u *upstream) nextToDrop() uint32 {
	if u.emptyClaim != 0 {
		return u.emptyClaim
	}
	return u.oldest
}
