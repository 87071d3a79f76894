// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"encoding/binary"
	"math"
	"slices"
)

// pack appends a value in its shortest form, as engines encode it: nil, bool,
// int, int64, uint64, float64, string, []byte, []any, pairs, and encoded bytes.
func pack(to []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(to, 0xc0)
	case bool:
		if v {
			return append(to, 0xc3)
		}
		return append(to, 0xc2)
	case int:
		return pack(to, int64(v))
	case uint32:
		return pack(to, uint64(v))
	case int64:
		if v >= 0 {
			return pack(to, uint64(v))
		}
		if v >= -32 {
			return append(to, byte(v))
		}
		return binary.BigEndian.AppendUint64(append(to, 0xd3), uint64(v))
	case uint64:
		return packUint(to, v)
	case float64:
		return binary.BigEndian.AppendUint64(append(to, 0xcb), math.Float64bits(v))
	case string:
		if len(v) < 32 {
			return append(append(to, 0xa0|byte(len(v))), v...)
		}
		return append(binary.BigEndian.AppendUint32(append(to, 0xdb), uint32(len(v))), v...)
	case []byte:
		return append(append(to, 0xc4, byte(len(v))), v...)
	case encoded:
		return append(to, v...)
	case []any:
		to = packCount(to, len(v), 0x90, 0xdc)
		for _, e := range v {
			to = pack(to, e)
		}
		return to
	case pairs:
		to = packCount(to, len(v)/2, 0x80, 0xde)
		for _, e := range v {
			to = pack(to, e)
		}
		return to
	}
	panic("cannot be packed")
}

type (
	pairs   []any  // key, value, key, value
	encoded []byte // as it is
)

func packUint(to []byte, v uint64) []byte {
	switch {
	case v < 128:
		return append(to, byte(v))
	case v <= math.MaxUint8:
		return append(to, 0xcc, byte(v))
	case v <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(to, 0xcd), uint16(v))
	case v <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(to, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(to, 0xcf), v)
}

func packCount(to []byte, n int, short, long byte) []byte {
	switch {
	case n < 16:
		return append(to, short|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(to, long), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(to, long+1), uint32(n))
}

// list returns a slice of the type that pack takes.
func list[T any](s []T) []any {
	to := make([]any, len(s))
	for i, e := range s {
		to[i] = e
	}
	return to
}

// batchOf is a batch of events at second 1789095808.5 of rank 0.
func batchOf(events ...any) []byte { return pack(nil, []any{1789095808.5, events, 0}) }

// decoded returns copies of a batch's events.
func decoded(payload []byte) (events []Event, b Batch, err error) {
	var d Decoder
	b, err = d.Decode(payload, func(e *Event) bool {
		events = append(events, clone(e))
		return true
	})
	return events, b, err
}

func clone(e *Event) Event {
	c := *e
	c.Hashes, c.Tokens = slices.Clone(e.Hashes), slices.Clone(e.Tokens)
	c.LoRA, c.Extra = slices.Clone(e.LoRA), slices.Clone(e.Extra)
	return c
}

func equal(a, b Event) bool {
	return a.Kind == b.Kind && a.Tier == b.Tier && a.Group == b.Group && a.Root == b.Root && a.Parent == b.Parent &&
		a.BlockSize == b.BlockSize && a.Attention == b.Attention && string(a.LoRA) == string(b.LoRA) &&
		slices.Equal(a.Hashes, b.Hashes) && slices.Equal(a.Tokens, b.Tokens) && slices.Equal(a.Extra, b.Extra)
}
