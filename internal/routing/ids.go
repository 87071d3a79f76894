// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/bauxite/caddy-kvaware/radixcache"

// ids finds the upstream behind an id of the tree. A decision asks it for each
// upstream that holds any of the prompt, twice, so it is a plain table with
// open addressing, at most a quarter full. The zero value is empty.
type ids struct {
	table []idSlot // length is a power of two
	count int
}

type idSlot struct {
	id radixcache.Upstream // 0: free
	u  *upstream
}

// at returns the slot to begin with: multiplicative hashing by 2^32/phi.
func (t *ids) at(id radixcache.Upstream) int {
	return int(uint32(id)*0x9E3779B1>>4) & (len(t.table) - 1)
}

// find returns the upstream, or nil.
func (t *ids) find(id radixcache.Upstream) *upstream {
	if t.count == 0 {
		return nil
	}
	for i := t.at(id); ; i = (i + 1) & (len(t.table) - 1) {
		if s := &t.table[i]; s.id == id || s.id == 0 {
			return s.u
		}
	}
}

// set enters an id; 0 is none.
func (t *ids) set(id radixcache.Upstream, u *upstream) {
	if id == 0 {
		return
	}
	if 4*(t.count+1) > len(t.table) {
		t.rebuild(max(16, 2*len(t.table)), 0)
	}
	i := t.at(id)
	for t.table[i].id != 0 && t.table[i].id != id {
		i = (i + 1) & (len(t.table) - 1)
	}
	if t.table[i].id == 0 {
		t.count++
	}
	t.table[i] = idSlot{id, u}
}

// drop removes an id.
func (t *ids) drop(id radixcache.Upstream) {
	if t.find(id) != nil {
		t.rebuild(len(t.table), id)
	}
}

// rebuild makes the table anew without one of its ids.
func (t *ids) rebuild(size int, without radixcache.Upstream) {
	old := t.table
	t.table, t.count = make([]idSlot, size), 0
	for _, s := range old {
		if s.id != without && s.id != 0 {
			t.set(s.id, s.u)
		}
	}
}
