// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"encoding/binary"
	"math"

	"github.com/bauxite/caddy-kvaware/internal/engine/msgpack"
	"github.com/cespare/xxhash/v2"
)

// maxExtraDepth bounds the nesting of lists in extra keys. Engines nest one, for
// (identifier, offset).
const maxExtraDepth = 4

// ExtraOf returns the Extra of a block whose hash covers these parts beside its
// tokens and its adapter, in the engine's order: for each image in it a
// []any{identifier, offset in the block}, on a prompt's first block its salt.
// Parts are string, []byte, int and []any of these; nil is left out. Without
// parts it returns 0. The digest is not keyed: hash it again with a key before
// keeping it.
func ExtraOf(parts ...any) uint64 {
	var x digest
	x.Reset()
	for _, p := range parts {
		x.add(p)
	}
	return x.sum()
}

// SaltExtra returns the Extra of the first block of a prompt with only a
// cache_salt, 0 without one.
func SaltExtra(salt string) uint64 {
	if salt == "" {
		return 0
	}
	return ExtraOf(salt)
}

// digest hashes parts, each with its kind and length, so that the same bytes cut
// into other parts have another digest.
type digest struct {
	xxhash.Digest
	parts int
}

func (x *digest) head(kind byte, n uint64) {
	var b [9]byte
	b[0] = kind
	binary.LittleEndian.PutUint64(b[1:], n)
	_, _ = x.Write(b[:])
	x.parts++
}

func (x *digest) add(part any) {
	switch p := part.(type) {
	case string:
		x.head('s', uint64(len(p)))
		_, _ = x.WriteString(p)
	case []byte:
		x.head('b', uint64(len(p)))
		_, _ = x.Write(p)
	case int:
		x.head('i', uint64(p))
	case []any:
		x.head('[', uint64(len(p)))
		for _, e := range p {
			x.add(e)
		}
	}
}

// sum returns 0 only without any part.
func (x *digest) sum() uint64 {
	if x.parts == 0 {
		return 0
	}
	return max(x.Sum64(), 1)
}

// extraKeys reads the extra keys of all blocks.
func (d *Decoder) extraKeys() error {
	end := d.in.Offset()
	d.in.Seek(d.raw.extraAt)
	defer d.in.Seek(end)
	n, err := d.in.Array()
	if err != nil || n != len(d.event.Hashes) && n != 0 {
		// The keys cannot be matched to the blocks, and without them blocks of
		// different prompts would look the same.
		return errEvent
	}
	d.extra = d.extra[:0]
	union := uint64(0)
	for range n {
		x, err := d.blockExtra()
		if err != nil {
			return err
		}
		d.extra = append(d.extra, x)
		union |= x
	}
	if union != 0 {
		d.event.Extra = d.extra
	}
	return nil
}

// blockExtra reads the extra keys of one block, without the adapter's name in
// front, which the event has already.
func (d *Decoder) blockExtra() (uint64, error) {
	if d.in.Nil() {
		return 0, nil
	}
	n, err := d.in.Array()
	if err != nil {
		return 0, errEvent
	}
	var x digest
	x.Reset()
	for i := range n {
		if i == 0 && len(d.event.LoRA) > 0 && d.in.Peek() == msgpack.Str {
			start := d.in.Offset()
			if name, err := d.in.Str(); err == nil && string(name) == string(d.event.LoRA) {
				continue
			}
			d.in.Seek(start)
		}
		if err := d.addNext(&x, maxExtraDepth); err != nil {
			return 0, err
		}
	}
	return x.sum(), nil
}

// addNext adds the next value to a digest.
func (d *Decoder) addNext(x *digest, depth int) (err error) {
	var b []byte
	var bits uint64
	switch d.in.Peek() {
	case msgpack.Nil:
		d.in.Nil()
	case msgpack.Str:
		if b, err = d.in.Str(); err == nil {
			x.head('s', uint64(len(b)))
			_, _ = x.Write(b)
		}
	case msgpack.Bin:
		if b, err = d.in.Bin(); err == nil {
			x.head('b', uint64(len(b)))
			_, _ = x.Write(b)
		}
	case msgpack.Int:
		if bits, _, err = d.in.Int(); err == nil {
			x.head('i', bits)
		}
	case msgpack.Float:
		var f float64
		if f, err = d.in.Float(); err == nil {
			x.head('f', math.Float64bits(f))
		}
	case msgpack.Array:
		return d.addList(x, depth)
	default:
		return d.addEncoded(x)
	}
	return eventError(err)
}

func (d *Decoder) addList(x *digest, depth int) error {
	n, err := d.in.Array()
	if err != nil || depth == 0 {
		return errEvent
	}
	x.head('[', uint64(n))
	for range n {
		if err := d.addNext(x, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// addEncoded adds the encoded bytes of a value of a kind that no engine uses today.
func (d *Decoder) addEncoded(x *digest) error {
	start := d.in.Offset()
	if d.in.Skip() != nil {
		return errEvent
	}
	end := d.in.Offset()
	d.in.Seek(start)
	x.head('?', uint64(end-start))
	_, _ = x.Write(d.in.Next(end - start))
	return nil
}

// addSalt puts SGLang's salt where vLLM has its own: on a prompt's first block.
// SGLang sends it with every event, but all other blocks follow from the first.
func (d *Decoder) addSalt() {
	e := &d.event
	if len(d.raw.salt) == 0 || !e.Root || len(e.Hashes) == 0 || len(e.Extra) > 0 && e.Extra[0] != 0 {
		return
	}
	if len(e.Extra) == 0 {
		d.extra = append(d.extra[:0], make([]uint64, len(e.Hashes))...)
		e.Extra = d.extra
	}
	var x digest
	x.Reset()
	x.head('s', uint64(len(d.raw.salt)))
	_, _ = x.Write(d.raw.salt)
	e.Extra[0] = x.sum()
}
