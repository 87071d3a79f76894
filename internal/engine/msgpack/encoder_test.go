// SPDX-License-Identifier: Apache-2.0

package msgpack

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// value is any MessagePack value.
type value struct {
	kind  Kind
	bits  uint64 // of Int (two's complement) and Float
	minus bool   // Int: less than zero
	yes   bool   // Bool
	bytes []byte // of Str, Bin, Ext
	list  []value
}

// encode appends a value; form picks one of the forms that can hold it.
func (v value) encode(to []byte, form func(n int) int) []byte {
	switch v.kind {
	case Nil:
		return append(to, 0xc0)
	case Bool:
		if v.yes {
			return append(to, 0xc3)
		}
		return append(to, 0xc2)
	case Int:
		return v.encodeInt(to, form)
	case Float:
		if narrow := float32(math.Float64frombits(v.bits)); math.Float64bits(float64(narrow)) == v.bits && form(2) == 0 {
			return binary.BigEndian.AppendUint32(append(to, 0xca), math.Float32bits(narrow))
		}
		return binary.BigEndian.AppendUint64(append(to, 0xcb), v.bits)
	case Str:
		to = announce(to, len(v.bytes), form, 0xa0, 32, 0xd9)
		return append(to, v.bytes...)
	case Bin:
		to = announce(to, len(v.bytes), form, 0, 0, 0xc4)
		return append(to, v.bytes...)
	case Ext:
		return v.encodeExt(to, form)
	}
	n, short, long := len(v.list), byte(0x90), byte(0xdc)
	if v.kind == Map {
		n, short, long = n/2, 0x80, 0xde
	}
	to = announceWide(to, n, form, short, long)
	for _, e := range v.list {
		to = e.encode(to, form)
	}
	return to
}

func (v value) encodeInt(to []byte, form func(n int) int) []byte {
	n := int64(v.bits)
	var forms [][]byte
	add := func(fits bool, b ...byte) {
		if fits {
			forms = append(forms, b)
		}
	}
	two, four, eight := make([]byte, 2), make([]byte, 4), make([]byte, 8)
	binary.BigEndian.PutUint16(two, uint16(v.bits))
	binary.BigEndian.PutUint32(four, uint32(v.bits))
	binary.BigEndian.PutUint64(eight, v.bits)
	signed := v.minus || n >= 0
	add(!v.minus && v.bits < 128 || v.minus && n >= -32, byte(v.bits))
	add(!v.minus && v.bits <= math.MaxUint8, 0xcc, byte(v.bits))
	add(!v.minus && v.bits <= math.MaxUint16, append([]byte{0xcd}, two...)...)
	add(!v.minus && v.bits <= math.MaxUint32, append([]byte{0xce}, four...)...)
	add(!v.minus, append([]byte{0xcf}, eight...)...)
	add(signed && n == int64(int8(n)), 0xd0, byte(v.bits))
	add(signed && n == int64(int16(n)), append([]byte{0xd1}, two...)...)
	add(signed && n == int64(int32(n)), append([]byte{0xd2}, four...)...)
	add(signed, append([]byte{0xd3}, eight...)...)
	return append(to, forms[form(len(forms))]...)
}

// encodeExt writes the type byte 7 and the bytes.
func (v value) encodeExt(to []byte, form func(n int) int) []byte {
	for i, n := range []int{1, 2, 4, 8, 16} {
		if len(v.bytes) == n && form(2) == 0 {
			return append(append(to, 0xd4+byte(i), 7), v.bytes...)
		}
	}
	to = announce(to, len(v.bytes), form, 0, 0, 0xc7)
	return append(append(to, 7), v.bytes...)
}

// announce writes a length below 2^32 whose long forms have 1, 2 and 4 bytes.
func announce(to []byte, n int, form func(n int) int, short byte, below int, long byte) []byte {
	switch pick := form(4); {
	case n < below && pick == 0:
		return append(to, short|byte(n))
	case n <= math.MaxUint8 && pick <= 1:
		return append(to, long, byte(n))
	case n <= math.MaxUint16 && pick <= 2:
		return binary.BigEndian.AppendUint16(append(to, long+1), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(to, long+2), uint32(n))
}

// announceWide is announce for arrays and maps, which have no 1-byte form.
func announceWide(to []byte, n int, form func(n int) int, short, long byte) []byte {
	switch pick := form(3); {
	case n < 16 && pick == 0:
		return append(to, short|byte(n))
	case n <= math.MaxUint16 && pick <= 1:
		return binary.BigEndian.AppendUint16(append(to, long), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(to, long+1), uint32(n))
}

// randomValue makes a value that is nested depth times at most.
func randomValue(r *rand.Rand, depth int) value {
	kind := Kind(1 + r.IntN(int(Ext)))
	if depth == 0 && (kind == Array || kind == Map) {
		kind = Int
	}
	v := value{kind: kind}
	switch kind {
	case Bool:
		v.yes = r.IntN(2) == 0
	case Int:
		v.bits = r.Uint64() >> r.IntN(64)
		if r.IntN(2) == 0 {
			v.bits = -v.bits
			v.minus = int64(v.bits) < 0
		}
	case Float:
		v.bits = math.Float64bits(r.NormFloat64())
		if r.IntN(2) == 0 {
			v.bits = math.Float64bits(float64(float32(r.NormFloat64())))
		}
	case Str, Bin, Ext:
		v.bytes = make([]byte, r.IntN(40)*r.IntN(12))
		for i := range v.bytes {
			v.bytes[i] = byte(r.Uint32())
		}
	case Array, Map:
		for range r.IntN(20) {
			v.list = append(v.list, randomValue(r, depth-1))
		}
		if kind == Map && len(v.list)%2 == 1 {
			v.list = v.list[1:]
		}
	}
	return v
}
