// SPDX-License-Identifier: Apache-2.0

package msgpack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// read takes one value of any kind with the methods for its kind.
func read(d *Decoder) (v value, err error) {
	v.kind = d.Peek()
	switch v.kind {
	case Nil:
		if !d.Nil() {
			return v, errors.New("no nil where Peek saw one")
		}
	case Bool:
		v.yes, err = d.Bool()
	case Int:
		v.bits, v.minus, err = d.Int()
	case Float:
		var f float64
		f, err = d.Float()
		v.bits = math.Float64bits(f)
	case Str:
		v.bytes, err = d.Str()
	case Bin:
		v.bytes, err = d.Bin()
	case Array, Map:
		n := 0
		if v.kind == Array {
			n, err = d.Array()
		} else {
			n, err = d.Map()
			n *= 2
		}
		for i := 0; i < n && err == nil; i++ {
			var e value
			e, err = read(d)
			v.list = append(v.list, e)
		}
	case Ext:
		err = d.Skip()
	default:
		err = ErrFormat
	}
	return v, err
}

func same(a, b value) bool {
	if a.kind != b.kind || a.bits != b.bits || a.minus != b.minus || a.yes != b.yes || len(a.list) != len(b.list) {
		return false
	}
	if a.kind != Ext && !bytes.Equal(a.bytes, b.bytes) {
		return false // an ext can only be skipped
	}
	for i := range a.list {
		if !same(a.list[i], b.list[i]) {
			return false
		}
	}
	return true
}

// TestRoundTrip writes random values in random forms, reads them back, skips
// them, and cuts them short at every byte.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		v := randomValue(r, 4)
		data := v.encode(nil, r.IntN)
		const tail = "tail"
		var d Decoder
		d.Reset(append(bytes.Clone(data), tail...))
		got, err := read(&d)
		if err != nil || !same(v, got) || d.Left() != len(tail) {
			t.Fatalf("% x: %+v, read as %+v, %d bytes left, %v", data, v, got, d.Left(), err)
		}
		d.Seek(0)
		if err := d.Skip(); err != nil || d.Left() != len(tail) {
			t.Fatalf("% x: skipped, %d bytes left, %v", data, d.Left(), err)
		}
		for cut := range data[:min(len(data), 200)] {
			d.Reset(data[:cut])
			if err := d.Skip(); err != ErrShort || d.Offset() != 0 {
				t.Fatalf("% x cut to %d bytes: skipped %d, %v", data, cut, d.Offset(), err)
			}
			if _, err := read(&d); err == nil {
				t.Fatalf("% x cut to %d bytes: read", data, cut)
			}
		}
	}
}

// TestForms reads each form of the specification from its bytes.
func TestForms(t *testing.T) {
	float := func(f float64) uint64 { return math.Float64bits(f) }
	for _, c := range []struct {
		data string
		want value
	}{
		{"\xc0", value{kind: Nil}},
		{"\xc2", value{kind: Bool}},
		{"\xc3", value{kind: Bool, yes: true}},
		{"\x00", value{kind: Int}},
		{"\x7f", value{kind: Int, bits: 127}},
		{"\xe0", value{kind: Int, bits: math.MaxUint64 - 31, minus: true}},
		{"\xff", value{kind: Int, bits: math.MaxUint64, minus: true}},
		{"\xcc\xff", value{kind: Int, bits: 255}},
		{"\xcd\xff\xff", value{kind: Int, bits: 65535}},
		{"\xce\xff\xff\xff\xff", value{kind: Int, bits: math.MaxUint32}},
		{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", value{kind: Int, bits: math.MaxUint64}},
		{"\xd0\x80", value{kind: Int, bits: 1<<64 - 128, minus: true}},
		{"\xd0\x7f", value{kind: Int, bits: 127}},
		{"\xd1\x80\x00", value{kind: Int, bits: 1<<64 - 1<<15, minus: true}},
		{"\xd2\x80\x00\x00\x00", value{kind: Int, bits: 1<<64 - 1<<31, minus: true}},
		{"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", value{kind: Int, bits: 1 << 63, minus: true}},
		{"\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", value{kind: Int, bits: math.MaxInt64}},
		{"\xca\x3f\xc0\x00\x00", value{kind: Float, bits: float(1.5)}},
		{"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", value{kind: Float, bits: float(1.5)}},
		{"\xa3GPU", value{kind: Str, bytes: []byte("GPU")}},
		{"\xd9\x03GPU", value{kind: Str, bytes: []byte("GPU")}},
		{"\xda\x00\x03GPU", value{kind: Str, bytes: []byte("GPU")}},
		{"\xdb\x00\x00\x00\x03GPU", value{kind: Str, bytes: []byte("GPU")}},
		{"\xc4\x02ab", value{kind: Bin, bytes: []byte("ab")}},
		{"\xc5\x00\x02ab", value{kind: Bin, bytes: []byte("ab")}},
		{"\xc6\x00\x00\x00\x02ab", value{kind: Bin, bytes: []byte("ab")}},
		{"\x91\x01", value{kind: Array, list: []value{{kind: Int, bits: 1}}}},
		{"\xdc\x00\x01\x01", value{kind: Array, list: []value{{kind: Int, bits: 1}}}},
		{"\xdd\x00\x00\x00\x01\x01", value{kind: Array, list: []value{{kind: Int, bits: 1}}}},
		{"\x81\x01\xc0", value{kind: Map, list: []value{{kind: Int, bits: 1}, {kind: Nil}}}},
		{"\xde\x00\x01\x01\xc0", value{kind: Map, list: []value{{kind: Int, bits: 1}, {kind: Nil}}}},
		{"\xdf\x00\x00\x00\x01\x01\xc0", value{kind: Map, list: []value{{kind: Int, bits: 1}, {kind: Nil}}}},
		{"\xd4\x05a", value{kind: Ext}},
		{"\xd5\x05ab", value{kind: Ext}},
		{"\xd6\x05abcd", value{kind: Ext}},
		{"\xd7\x05abcdefgh", value{kind: Ext}},
		{"\xd8\x05abcdefghijklmnop", value{kind: Ext}},
		{"\xc7\x03\x05abc", value{kind: Ext}},
		{"\xc8\x00\x03\x05abc", value{kind: Ext}},
		{"\xc9\x00\x00\x00\x03\x05abc", value{kind: Ext}},
	} {
		var d Decoder
		d.Reset([]byte(c.data))
		if got, err := read(&d); err != nil || !same(got, c.want) || d.Left() != 0 {
			t.Errorf("% x: %+v, %d bytes left, %v; want %+v", c.data, got, d.Left(), err, c.want)
		}
	}
}

// TestKindOfEachByte checks both tables against the specification's ranges.
func TestKindOfEachByte(t *testing.T) {
	for b := range 256 {
		var d Decoder
		d.Reset(append([]byte{byte(b)}, make([]byte, 20)...))
		err := d.Skip()
		if b == 0xc1 {
			if err != ErrFormat || d.Peek() != None {
				t.Errorf("c1: %v, kind %d", err, d.Peek())
			}
			continue
		}
		if d.Seek(0); d.Peek() == None {
			t.Errorf("%02x starts no value", b)
		}
		// Short forms of up to 31 bytes do not fit the 20 zeros.
		if err != nil && !(b >= 0xb5 && b <= 0xbf) && !(b >= 0x8b && b <= 0x8f) {
			t.Errorf("%02x and zeros: %v", b, err)
		}
	}
}

func TestOfAnotherKind(t *testing.T) {
	var d Decoder
	calls := map[string]func() error{
		"Array": func() error { _, err := d.Array(); return err },
		"Map":   func() error { _, err := d.Map(); return err },
		"Int":   func() error { _, _, err := d.Int(); return err },
		"Float": func() error { _, err := d.Float(); return err },
		"Bool":  func() error { _, err := d.Bool(); return err },
		"Str":   func() error { _, err := d.Str(); return err },
		"Bin":   func() error { _, err := d.Bin(); return err },
	}
	takes := map[string]string{"Array": "\x90", "Map": "\x80", "Int": "\x01", "Float": "\xca0000", "Bool": "\xc2", "Str": "\xa0", "Bin": "\xc4\x00"}
	for name, call := range calls {
		for other, data := range takes {
			d.Reset([]byte(data))
			want := ErrKind
			if name == other || name == "Float" && other == "Int" {
				want = nil
			}
			if err := call(); err != want || err != nil && d.Offset() != 0 {
				t.Errorf("%s of %s: %v, offset %d", name, other, err, d.Offset())
			}
		}
		d.Reset(nil)
		if err := call(); err != ErrShort {
			t.Errorf("%s at the end: %v", name, err)
		}
		if d.Nil() || d.Peek() != None {
			t.Error("a nil at the end")
		}
	}
}

// TestAnnouncedLengths: a length beyond the data is an error.
func TestAnnouncedLengths(t *testing.T) {
	for _, data := range []string{
		"\xdd\xff\xff\xff\xff", "\xdd\x00\x00\x00\x03\x01\x01", "\xdf\xff\xff\xff\xff\x01", "\xdf\x00\x00\x00\x02\x01\x01\x01",
		"\x92\x01", "\x82\x01\x01\x01", "\xdb\xff\xff\xff\xffabc", "\xc6\xff\xff\xff\xff", "\xc9\xff\xff\xff\xff\x01a", "\xd8\x01a",
	} {
		var d Decoder
		d.Reset([]byte(data))
		var err error
		switch d.Peek() {
		case Array:
			_, err = d.Array()
		case Map:
			_, err = d.Map()
		case Str:
			_, err = d.Str()
		case Bin:
			_, err = d.Bin()
		default:
			err = ErrShort
		}
		if err != ErrShort || d.Skip() != ErrShort || d.Offset() != 0 {
			t.Errorf("% x: %v, offset %d", data, err, d.Offset())
		}
	}
}

func TestDepth(t *testing.T) {
	nested := func(n int, first byte) []byte { return append(bytes.Repeat([]byte{first}, n), 0xc0) }
	var d Decoder
	for _, n := range []int{0, 1, MaxDepth - 1, MaxDepth} {
		if d.Reset(nested(n, 0x91)); d.Skip() != nil || d.Left() != 0 {
			t.Errorf("a value nested %d deep is not skipped", n)
		}
	}
	for _, n := range []int{MaxDepth + 1, 1 << 20} {
		if d.Reset(nested(n, 0x91)); d.Skip() != ErrDepth || d.Offset() != 0 {
			t.Errorf("a value nested %d deep is skipped", n)
		}
	}
	// Only nesting counts, not the number of values.
	wide := binary.BigEndian.AppendUint32([]byte{0xdd}, 1000)
	for range 1000 {
		wide = append(wide, nested(MaxDepth-1, 0x91)...)
	}
	if d.Reset(wide); d.Skip() != nil || d.Left() != 0 {
		t.Error("a wide value is not skipped")
	}
}

func TestAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	data := value{kind: Array, list: []value{randomValue(r, 4), randomValue(r, 4)}}.encode(nil, r.IntN)
	data = append(data, "\xce\x00\x02\x50\x5c\xcb00000000\xa3GPU\xc4\x02ab\x81\x01\xc0"...)
	var d Decoder
	if n := testing.AllocsPerRun(10, func() {
		d.Reset(data)
		_ = d.Skip()
		_, _, _ = d.Int()
		_, _ = d.Float()
		_, _ = d.Str()
		_, _ = d.Bin()
		_, _ = d.Map()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// slowSkip returns the end of the value at the start of data, or -1. It recurses and
// shares nothing with Decoder.
func slowSkip(data []byte, depth int) int {
	if len(data) == 0 {
		return -1
	}
	number := func(n int) (uint64, bool) {
		if len(data) < 1+n {
			return 0, false
		}
		u := uint64(0)
		for _, b := range data[1 : 1+n] {
			u = u<<8 | uint64(b)
		}
		return u, true
	}
	flat := func(wide int, extra uint64) int {
		n, ok := number(wide)
		if end := 1 + uint64(wide) + n + extra; ok && end <= uint64(len(data)) {
			return int(end)
		}
		return -1
	}
	fixed := func(n int) int {
		if len(data) < n {
			return -1
		}
		return n
	}
	values := func(wide int, n uint64) int {
		if n > 0 && depth == 0 {
			return -1
		}
		at := 1 + wide
		for range n {
			if at > len(data) {
				return -1
			}
			used := slowSkip(data[at:], depth-1)
			if used < 0 {
				return -1
			}
			at += used
		}
		return fixed(at)
	}
	list := func(wide int, each uint64) int {
		n, ok := number(wide)
		if !ok {
			return -1
		}
		return values(wide, n*each)
	}
	switch b := data[0]; {
	case b <= 0x7f, b >= 0xe0, b == 0xc0, b == 0xc2, b == 0xc3:
		return 1
	case b <= 0x8f:
		return values(0, 2*uint64(b&15))
	case b <= 0x9f:
		return values(0, uint64(b&15))
	case b <= 0xbf:
		return fixed(1 + int(b&31))
	case b == 0xc1:
		return -1
	case b <= 0xc6:
		return flat(1<<(b-0xc4), 0)
	case b <= 0xc9:
		return flat(1<<(b-0xc7), 1)
	case b == 0xca:
		return fixed(5)
	case b == 0xcb:
		return fixed(9)
	case b <= 0xcf:
		return fixed(1 + 1<<(b-0xcc))
	case b <= 0xd3:
		return fixed(1 + 1<<(b-0xd0))
	case b <= 0xd8:
		return fixed(2 + 1<<(b-0xd4))
	case b <= 0xdb:
		return flat(1<<(b-0xd9), 0)
	case b <= 0xdd:
		return list(2<<(b-0xdc), 1)
	default:
		return list(2<<(b-0xde), 2)
	}
}

func FuzzSkip(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		f.Add(randomValue(r, 3).encode(nil, r.IntN))
	}
	f.Add([]byte("\xdd\xff\xff\xff\xff\x91\x91\x91"))
	f.Add(bytes.Repeat([]byte{0x91}, MaxDepth+2))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return // the reference is slow
		}
		// Without spare capacity, so that reading past the end panics.
		data = bytes.Clone(data)[:len(data):len(data)]
		var d Decoder
		d.Reset(data)
		err := d.Skip()
		want := slowSkip(data, MaxDepth)
		if (err == nil) != (want >= 0) || err == nil && d.Offset() != want || err != nil && d.Offset() != 0 {
			t.Fatalf("skipped %d, %v; want %d", d.Offset(), err, want)
		}
		d.Seek(0)
		if v, err := read(&d); err == nil && want >= 0 && d.Offset() != want {
			t.Fatalf("read %d bytes of %+v, want %d", d.Offset(), v, want)
		}
	})
}

func BenchmarkSkip(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	list := make([]value, 4096)
	for i := range list {
		list[i] = value{kind: Int, bits: r.Uint64N(150000)}
	}
	data := value{kind: Array, list: list}.encode(nil, func(int) int { return 0 })
	b.SetBytes(int64(len(data)))
	var d Decoder
	for b.Loop() {
		d.Reset(data)
		if err := d.Skip(); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleDecoder() {
	var d Decoder
	d.Reset([]byte("\x92\xa3GPU\xcd\x03\xe8"))
	n, _ := d.Array()
	medium, _ := d.Str()
	tokens, _, _ := d.Int()
	fmt.Println(n, string(medium), tokens)
	// Output: 2 GPU 1000
}
