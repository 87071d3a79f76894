// SPDX-License-Identifier: Apache-2.0

package msgpack

// Kind is the kind of a value.
type Kind uint8

// The kinds of values.
const (
	None Kind = iota // no value
	Nil
	Bool
	Int // signed or unsigned, of any width
	Float
	Str
	Bin
	Array
	Map
	Ext // application types and timestamps; can only be skipped
)

// kinds maps a first byte to the kind of its value, widths to the number of bytes
// of length, count or number that follow it.
var kinds, widths = tables()

func tables() (kinds [256]Kind, widths [256]uint8) {
	fill := func(from, to int, kind Kind, wide ...uint8) {
		for i := from; i <= to; i++ {
			kinds[i] = kind
			if len(wide) > 0 {
				widths[i] = wide[i-from]
			}
		}
	}
	fill(0x00, 0x7f, Int)
	fill(0x80, 0x8f, Map)
	fill(0x90, 0x9f, Array)
	fill(0xa0, 0xbf, Str)
	fill(0xc0, 0xc0, Nil)
	fill(0xc2, 0xc3, Bool)
	fill(0xc4, 0xc6, Bin, 1, 2, 4)
	fill(0xc7, 0xc9, Ext, 1, 2, 4)
	fill(0xca, 0xcb, Float, 4, 8)
	fill(0xcc, 0xcf, Int, 1, 2, 4, 8)
	fill(0xd0, 0xd3, Int, 1, 2, 4, 8)
	fill(0xd4, 0xd8, Ext)
	fill(0xd9, 0xdb, Str, 1, 2, 4)
	fill(0xdc, 0xdd, Array, 2, 4)
	fill(0xde, 0xdf, Map, 2, 4)
	fill(0xe0, 0xff, Int)
	return kinds, widths
}

// inline returns the count or value in the first byte itself.
func inline(first byte) uint64 {
	switch {
	case first < 0x80:
		return uint64(first)
	case first < 0xa0: // map, array
		return uint64(first & 0x0f)
	case first < 0xc0: // string
		return uint64(first & 0x1f)
	case first == 0xc3: // true
		return 1
	case first >= 0xd4 && first <= 0xd8: // ext of 1, 2, 4, 8, 16 bytes
		return 1 << (first - 0xd4)
	case first >= 0xe0:
		return uint64(int64(int8(first)))
	}
	return 0
}
