// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"hash/maphash"
	"slices"
	"strconv"
	"unsafe"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// keyedDigits is the number of hex digits of the HMAC in a keyed placeholder. It
// has more if two values of one request would share them.
const keyedDigits = 6

// maxLiteral is the largest number of a placeholder that is noticed in the
// client's own text. A vault makes at most maxFindings placeholders, so it comes
// to larger numbers only in a text that has that many placeholders itself.
const maxLiteral = 1<<16 - 1

// vaultSeed makes the hashes of vaults unpredictable, so that no client can send
// values with colliding hashes.
var vaultSeed = maphash.MakeSeed()

// vault is a request's own map from placeholders to values. The values are copied
// into one arena of bytes and never become strings, so wipe can zero all of them.
// Only the goroutine of the request uses it.
//
// Placeholders are numbered by entity, in the order in which they are asked for.
// A number is skipped if its placeholder stood earlier in the prompt's own text,
// where it may mean something else. Later text does not count, or an added turn
// would renumber the turns before it.
type vault struct {
	mac        hash.Hash // nil: numbered
	arena      []byte    // values
	names      []byte    // placeholders; not secret, so append may leave copies
	entries    []entry
	index      map[uint64]int32    // hash of entity and value: its newest entry
	taken      map[uint64]struct{} // hashes of the keyed placeholders in use
	numberings []numbering
	item       int32
	ambiguous  bool    // numbering was restarted, so a placeholder may mean two values
	order      []int32 // restorable entries sorted by placeholder; set by seal
}

// entry is one placeholder and its value.
type entry struct {
	entity               pii.Entity
	value, valueEnd      uint32 // in arena
	name, nameEnd, older int32  // in names; the next older entry of the same hash, or -1
}

// numbering numbers the placeholders of one entity.
type numbering struct {
	entity pii.Entity
	next   int
	seen   []uint64 // bit n: the placeholder with number n stood in the text
}

// newVault returns a vault that numbers its placeholders. With a key it derives
// them from the values by HMAC-SHA256 (RFC 2104).
func newVault(key []byte) *vault {
	v := &vault{index: make(map[uint64]int32)}
	if len(key) > 0 {
		v.mac = hmac.New(sha256.New, key)
		v.taken = make(map[uint64]struct{})
	}
	return v
}

// expect announces an entity before its first placeholder.
func (v *vault) expect(e pii.Entity) {
	if v.numbering([]byte(e)) == nil {
		v.numberings = append(v.numberings, numbering{entity: e, next: 1})
	}
}

func (v *vault) numbering(entity []byte) *numbering {
	for i := range v.numberings {
		if string(v.numberings[i].entity) == string(entity) {
			return &v.numberings[i]
		}
	}
	return nil
}

// startItem restarts the numbering for an independent text.
func (v *vault) startItem(item int32) {
	if item == v.item {
		return
	}
	v.item = item
	v.ambiguous = v.ambiguous || len(v.entries) > 0
	clear(v.index)
	clear(v.taken)
	for i := range v.numberings {
		v.numberings[i].next = 1
		clear(v.numberings[i].seen)
	}
}

// noteText records the placeholders in the prompt's own text.
func (v *vault) noteText(text []byte) {
	if v.mac != nil || len(v.numberings) == 0 {
		return // a keyed placeholder in the text can only stand for the same value
	}
	for {
		i := bytes.IndexByte(text, '[')
		if i < 0 {
			return
		}
		text = text[i+1:]
		n := 0
		for n < len(text) && n <= maxPlaceholder && isPlaceholderByte(text[n]) {
			n++
		}
		if n < len(text) && text[n] == ']' {
			v.noteLiteral(text[:n])
		}
		text = text[n:]
	}
}

// maxPlaceholder is the length of the longest placeholder without brackets: an
// entity of 40 bytes, an underscore and 64 hex digits.
const maxPlaceholder = 40 + 1 + 64

func isPlaceholderByte(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// noteLiteral records the number of a literal such as EMAIL_3.
func (v *vault) noteLiteral(literal []byte) {
	i := bytes.LastIndexByte(literal, '_')
	if i < 0 {
		return
	}
	l := v.numbering(literal[:i])
	n, ok := canonicalNumber(literal[i+1:])
	if l == nil || !ok {
		return
	}
	for len(l.seen) <= n/64 {
		l.seen = append(l.seen, 0)
	}
	l.seen[n/64] |= 1 << (n % 64)
}

// canonicalNumber parses a number without a leading zero.
func canonicalNumber(digits []byte) (n int, ok bool) {
	if len(digits) == 0 || len(digits) > 5 || digits[0] == '0' {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= maxLiteral
}

// placeholder returns the placeholder of a value, the same for the same value and
// entity. The result stays valid and must not be changed.
func (v *vault) placeholder(e pii.Entity, value []byte) []byte {
	h := v.hash(e, value)
	if m := v.find(h, e, value); m >= 0 {
		return v.name(m)
	}
	m := entry{entity: e, older: -1, value: uint32(len(v.arena)), name: int32(len(v.names))}
	v.arena = sensitive.Append("vault", v.arena, value...)
	m.valueEnd = uint32(len(v.arena))
	if v.mac != nil {
		v.mintKeyed(e, value)
	} else {
		v.mintNumber(e)
	}
	m.nameEnd = int32(len(v.names))
	if older, ok := v.index[h]; ok {
		m.older = older
	}
	v.index[h] = int32(len(v.entries))
	v.entries = append(v.entries, m)
	return v.name(int32(len(v.entries) - 1))
}

func (v *vault) hash(e pii.Entity, value []byte) uint64 {
	return maphash.Bytes(vaultSeed, value) ^ maphash.String(vaultSeed, string(e))
}

func (v *vault) find(h uint64, e pii.Entity, value []byte) int32 {
	i, ok := v.index[h]
	if !ok {
		return -1
	}
	for ; i >= 0; i = v.entries[i].older {
		m := &v.entries[i]
		if m.entity == e && bytes.Equal(v.arena[m.value:m.valueEnd], value) {
			return i
		}
	}
	return -1
}

// mintNumber writes [ENTITY_n] with the next free number.
func (v *vault) mintNumber(e pii.Entity) {
	v.expect(e)
	l := v.numbering([]byte(e))
	for l.next/64 < len(l.seen) && l.seen[l.next/64]>>(l.next%64)&1 != 0 {
		l.next++
	}
	v.writeEntity(e)
	v.names = strconv.AppendInt(v.names, int64(l.next), 10)
	v.names = append(v.names, ']')
	l.next++
}

// mintKeyed writes [ENTITY_hex] with enough digits to differ from the placeholders
// before it.
func (v *vault) mintKeyed(e pii.Entity, value []byte) {
	v.mac.Reset()
	_, _ = v.mac.Write([]byte(e))
	_, _ = v.mac.Write([]byte{0})
	_, _ = v.mac.Write(value)
	// The hash, and the copy that Sum makes, keep the end of the value until
	// another block is written.
	var nothing [sha256.BlockSize]byte
	_, _ = v.mac.Write(nothing[:])
	var sum [sha256.Size]byte
	var digits [2 * sha256.Size]byte
	hex.Encode(digits[:], v.mac.Sum(sum[:0]))
	start := len(v.names)
	for n := keyedDigits; ; n += 2 {
		v.names = v.names[:start]
		v.writeEntity(e)
		v.names = append(v.names, digits[:n]...)
		v.names = append(v.names, ']')
		taken := maphash.Bytes(vaultSeed, v.names[start:])
		if _, ok := v.taken[taken]; !ok || n == len(digits) {
			v.taken[taken] = struct{}{}
			return
		}
	}
}

func (v *vault) writeEntity(e pii.Entity) {
	v.names = append(v.names, '[')
	v.names = append(v.names, e...)
	v.names = append(v.names, '_')
}

func (v *vault) name(m int32) []byte {
	start, end := v.entries[m].name, v.entries[m].nameEnd
	return v.names[start:end:end]
}

// size returns the size of the vault in bytes.
func (v *vault) size() int64 {
	const markSize, indexSize = int(unsafe.Sizeof(entry{})), 24 // about the size of a map entry
	return int64(cap(v.arena) + cap(v.names) + markSize*cap(v.entries) + indexSize*len(v.entries))
}

// seal prepares the restorable placeholders for Value and HasPrefix. It prepares
// none if numbering was restarted: a placeholder may then mean several values.
func (v *vault) seal(restorable func(pii.Entity) bool) {
	if v.ambiguous {
		return
	}
	for i := range v.entries {
		if restorable(v.entries[i].entity) {
			v.order = append(v.order, int32(i))
		}
	}
	slices.SortFunc(v.order, func(a, b int32) int { return bytes.Compare(v.name(a), v.name(b)) })
}

// search returns the index in order of the first placeholder >= p.
func (v *vault) search(p []byte) int {
	i, _ := slices.BinarySearchFunc(v.order, p, func(m int32, p []byte) int { return bytes.Compare(v.name(m), p) })
	return i
}

// Len returns the number of placeholders that can be restored.
func (v *vault) Len() int { return len(v.order) }

// Value returns the value of a placeholder. It is valid until the vault is wiped
// and must not be changed.
func (v *vault) Value(placeholder []byte) (value []byte, ok bool) {
	i := v.search(placeholder)
	if i == len(v.order) || !bytes.Equal(v.name(v.order[i]), placeholder) {
		return nil, false
	}
	m := &v.entries[v.order[i]]
	return v.arena[m.value:m.valueEnd:m.valueEnd], true
}

// HasPrefix reports whether a restorable placeholder begins with tail.
func (v *vault) HasPrefix(tail []byte) bool {
	i := v.search(tail)
	return i < len(v.order) && bytes.HasPrefix(v.name(v.order[i]), tail)
}

// wipe zeroes the values and empties the vault.
func (v *vault) wipe() {
	sensitive.Wipe(v.arena)
	*v = vault{}
}
