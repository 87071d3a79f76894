// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"hash/maphash"
	"math/bits"
)

// keySeed makes the hash of keys unpredictable: no client can send keys that
// all fall into one slot.
var keySeed = maphash.MakeSeed()

// maxFewKeys is the number of keys of one object up to which comparing each pair
// is faster than a hash set.
const maxFewKeys = 8

// keySet is the memory for finding duplicate keys. Objects reuse it.
type keySet struct {
	slots         []keySlot
	plain, plain2 []byte
}

// keySlot is one entry of an open-addressed hash set. Node 0 is never a key, so
// it marks a free slot.
type keySlot struct{ hash, node uint32 }

// lookupEscaped is lookup for a key with escapes in it.
func (s *keySet) lookupEscaped(raw []byte) name {
	if len(raw) > 6*longestName { // an escape has at most six bytes
		return nameNone
	}
	s.plain = appendUnescaped(s.plain[:0], raw)
	return lookup(s.plain)
}

// unique reports whether all unescaped keys of the object differ, in O(keys): by
// a bit set for well-known names, in pairs for a few others, and by a seeded
// hash set for many.
func (t *tape) unique(object uint32) bool {
	var seen [(numNames + 63) / 64]uint64
	var few [maxFewKeys]uint32
	n := 0
	end := t.nodes[object].next
	for k := object + 1; k < end; k = t.nodes[k+1].next {
		key := &t.nodes[k]
		if m := key.name; m != nameNone {
			if seen[m/64]>>(m%64)&1 != 0 {
				return false
			}
			seen[m/64] |= 1 << (m % 64)
			continue
		}
		if n == maxFewKeys || key.escaped() {
			return t.uniqueMany(object)
		}
		text := t.body[key.start:key.end]
		for _, other := range few[:n] {
			o := &t.nodes[other]
			if bytes.Equal(text, t.body[o.start:o.end]) {
				return false
			}
		}
		few[n] = k
		n++
	}
	return true
}

// uniqueMany is unique by a hash set of all keys.
func (t *tape) uniqueMany(object uint32) bool {
	s := &t.keys
	count := 0
	end := t.nodes[object].next
	for k := object + 1; k < end; k = t.nodes[k+1].next {
		count++
	}
	s.reset(count)
	for k := object + 1; k < end; k = t.nodes[k+1].next {
		if !t.insertKey(k) {
			return false
		}
	}
	return true
}

// reset empties the set and gives it at least twice n slots.
func (s *keySet) reset(n int) {
	size := 1 << bits.Len(uint(2*n))
	if cap(s.slots) < size {
		s.slots = make([]keySlot, size)
		return
	}
	s.slots = s.slots[:size]
	clear(s.slots)
}

// insertKey adds key node k and reports whether it was not there yet.
func (t *tape) insertKey(k uint32) bool {
	s := &t.keys
	text := t.keyText(k, &s.plain)
	h := maphash.Bytes(keySeed, text)
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := &s.slots[i]
		if slot.node == 0 {
			*slot = keySlot{uint32(h >> 32), k}
			return true
		}
		if slot.hash == uint32(h>>32) && bytes.Equal(text, t.keyText(slot.node, &s.plain2)) {
			return false
		}
	}
}

// keyText returns the unescaped key, in buf when it has escapes.
func (t *tape) keyText(k uint32, buf *[]byte) []byte {
	n := &t.nodes[k]
	raw := t.body[n.start:n.end]
	if !n.escaped() {
		return raw
	}
	*buf = appendUnescaped((*buf)[:0], raw)
	return *buf
}
