// SPDX-License-Identifier: Apache-2.0

// Package msgpack reads MessagePack values one after the other from untrusted
// bytes. It copies and allocates nothing, and checks each length against the bytes
// that are there: an array that announces more elements than bytes follow is an
// error at its header.
//
// decoder_test.go covers all files; its encoder is in encoder_test.go.
//
// The format: https://github.com/msgpack/msgpack/blob/master/spec.md
package msgpack

import (
	"encoding/binary"
	"errors"
	"math"
)

// The errors of a Decoder. None quotes the input.
var (
	ErrShort  = errors.New("msgpack: a value ends too early")
	ErrKind   = errors.New("msgpack: a value of another kind was expected")
	ErrFormat = errors.New("msgpack: a byte that starts no value")
	ErrDepth  = errors.New("msgpack: values are nested too deep")
)

// MaxDepth bounds the nesting of arrays and maps in a value that Skip passes over.
const MaxDepth = 32

// Decoder reads values from the front of a slice. A read that fails does not move
// it. The zero value has nothing to read; use Reset.
type Decoder struct {
	data []byte
	at   int
}

// Reset makes the decoder read data from its start. Str and Bin return parts of
// data, which must not change while they are in use.
func (d *Decoder) Reset(data []byte) { d.data, d.at = data, 0 }

// Offset returns the number of bytes that were read, for Seek.
func (d *Decoder) Offset() int { return d.at }

// Seek goes to an offset that Offset returned for the same data.
func (d *Decoder) Seek(offset int) { d.at = min(max(offset, 0), len(d.data)) }

// Next takes n encoded bytes, or all that are left. Skip finds the end of a value.
func (d *Decoder) Next(n int) []byte {
	start := d.at
	d.at += min(max(n, 0), d.Left())
	return d.data[start:d.at:d.at]
}

// Left returns the number of bytes that are not read yet.
func (d *Decoder) Left() int { return len(d.data) - d.at }

// Peek returns the kind of the next value: None at the end of the data or at a byte
// that starts no value.
func (d *Decoder) Peek() Kind {
	if d.at >= len(d.data) {
		return None
	}
	return kinds[d.data[d.at]]
}

// header is the start of a value.
type header struct {
	kind Kind
	size int    // bytes of the header itself
	n    uint64 // elements, pairs, bytes that follow, or the bits of a number
}

// peek reads the next value's header without moving on. It checks only that the
// header's own bytes are there.
func (d *Decoder) peek() (header, error) {
	if d.at >= len(d.data) {
		return header{}, ErrShort
	}
	rest := d.data[d.at:]
	first := rest[0]
	h := header{kind: kinds[first], size: 1 + int(widths[first])}
	if h.kind == None {
		return header{}, ErrFormat
	}
	if len(rest) < h.size {
		return header{}, ErrShort
	}
	switch widths[first] {
	case 0:
		h.n = inline(first)
	case 1:
		h.n = uint64(rest[1])
	case 2:
		h.n = uint64(binary.BigEndian.Uint16(rest[1:]))
	case 4:
		h.n = uint64(binary.BigEndian.Uint32(rest[1:]))
	default:
		h.n = binary.BigEndian.Uint64(rest[1:])
	}
	if h.kind == Ext {
		h.n++ // the byte with its type
	}
	return h, nil
}

// bytes takes a value of one kind whose header is followed by its bytes.
func (d *Decoder) bytes(kind Kind) ([]byte, error) {
	h, err := d.peek()
	if err != nil {
		return nil, err
	}
	if h.kind != kind {
		return nil, ErrKind
	}
	start := d.at + h.size
	if h.n > uint64(len(d.data)-start) {
		return nil, ErrShort
	}
	d.at = start + int(h.n)
	return d.data[start:d.at:d.at], nil
}

// Str takes a string. It is not checked to be UTF-8.
func (d *Decoder) Str() ([]byte, error) { return d.bytes(Str) }

// Bin takes a byte string.
func (d *Decoder) Bin() ([]byte, error) { return d.bytes(Bin) }

// count takes the header of an array or a map.
func (d *Decoder) count(kind Kind, each int) (int, error) {
	h, err := d.peek()
	if err != nil {
		return 0, err
	}
	if h.kind != kind {
		return 0, ErrKind
	}
	// Each element takes a byte at least. n has 32 bits at most: no overflow.
	if h.n*uint64(each) > uint64(d.Left()-h.size) {
		return 0, ErrShort
	}
	d.at += h.size
	return int(h.n), nil
}

// Array takes the header of an array and returns the number of its values.
func (d *Decoder) Array() (int, error) { return d.count(Array, 1) }

// Map takes the header of a map and returns the number of its pairs.
func (d *Decoder) Map() (int, error) { return d.count(Map, 2) }

// Int takes an integer: its 64 bits in two's complement, and whether it is negative.
// From 2^63 on it fits uint64 only.
func (d *Decoder) Int() (bits uint64, negative bool, err error) {
	// The one-byte form, which most sizes have.
	if d.at < len(d.data) && d.data[d.at] < 0x80 {
		bits = uint64(d.data[d.at])
		d.at++
		return bits, false, nil
	}
	h, err := d.peek()
	if err != nil {
		return 0, false, err
	}
	if h.kind != Int {
		return 0, false, ErrKind
	}
	bits = h.n
	if first := d.data[d.at]; first >= 0xd0 && first <= 0xd3 {
		shift := 64 - 8*uint(widths[first])
		bits = uint64(int64(bits<<shift) >> shift)
		negative = int64(bits) < 0
	} else if first >= 0xe0 {
		negative = true
	}
	d.at += h.size
	return bits, negative, nil
}

// Float takes a number of any kind as a float64.
func (d *Decoder) Float() (float64, error) {
	if d.Peek() == Int {
		bits, negative, err := d.Int()
		if negative {
			return float64(int64(bits)), err
		}
		return float64(bits), err
	}
	h, err := d.peek()
	if err != nil {
		return 0, err
	}
	if h.kind != Float {
		return 0, ErrKind
	}
	d.at += h.size
	if h.size == 5 {
		return float64(math.Float32frombits(uint32(h.n))), nil
	}
	return math.Float64frombits(h.n), nil
}

// Bool takes true or false.
func (d *Decoder) Bool() (bool, error) {
	h, err := d.peek()
	if err != nil {
		return false, err
	}
	if h.kind != Bool {
		return false, ErrKind
	}
	d.at++
	return h.n == 1, nil
}

// Nil takes a nil if that comes next, and reports whether it did.
func (d *Decoder) Nil() bool {
	if d.Peek() != Nil {
		return false
	}
	d.at++
	return true
}
