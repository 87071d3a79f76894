// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/bauxite/caddy-kvaware/radixcache"

// idTable finds the upstream behind an id of the tree. A decision asks it twice
// for each upstream that holds any of the prompt, so it is a plain table with
// open addressing, at most a quarter full. The zero value is empty.
type idTable struct {
	slots []idSlot // length is a power of two
	count int
}

type idSlot struct {
	id radixcache.Upstream // 0: free
	u  *upstream
}

// home returns the slot to begin with: multiplicative hashing by 2^32/phi.
func (t *idTable) home(id radixcache.Upstream) int {
	return int(uint32(id)*0x9E3779B1>>4) & (len(t.slots) - 1)
}

// find returns the upstream, or nil.
func (t *idTable) find(id radixcache.Upstream) *upstream {
	if t.count == 0 {
		return nil
	}
	for i := t.home(id); ; i = (i + 1) & (len(t.slots) - 1) {
		if s := &t.slots[i]; s.id == id || s.id == 0 {
			return s.u
		}
	}
}

// set enters an id; 0 is none.
func (t *idTable) set(id radixcache.Upstream, u *upstream) {
	if id == 0 {
		return
	}
	if 4*(t.count+1) > len(t.slots) {
		t.rebuild(max(16, 2*len(t.slots)), 0)
	}
	i := t.home(id)
	for t.slots[i].id != 0 && t.slots[i].id != id {
		i = (i + 1) & (len(t.slots) - 1)
	}
	if t.slots[i].id == 0 {
		t.count++
	}
	t.slots[i] = idSlot{id, u}
}

// remove removes an id.
func (t *idTable) remove(id radixcache.Upstream) {
	if t.find(id) != nil {
		t.rebuild(len(t.slots), id)
	}
}

// rebuild makes the table anew without one of its ids.
func (t *idTable) rebuild(size int, without radixcache.Upstream) {
	old := t.slots
	t.slots, t.count = make([]idSlot, size), 0
	for _, s := range old {
		if s.id != without && s.id != 0 {
			t.set(s.id, s.u)
		}
	}
}
