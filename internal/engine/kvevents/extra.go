// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"encoding/binary"
	"math"

	"github.com/bauxite/caddy-kvaware/internal/engine/msgpack"
	"github.com/cespare/xxhash/v2"
)

// maxExtraDepth is how many lists may be within each other in extra keys;
// engines need one, for (identifier, offset).
const maxExtraDepth = 4

// ExtraOf is the Extra of a block whose hash covers these parts beside its
// tokens and its adapter, in the engine's order: for each image in it a
// []any{identifier, offset in the block}, on a prompt's first block its salt.
// Parts are string, []byte, int and []any of these; nil is left out. It is 0
// for none. The digest is not keyed: it is to be hashed again with a key before
// it is kept.
func ExtraOf(parts ...any) uint64 {
	var x digest
	x.Reset()
	for _, p := range parts {
		x.add(p)
	}
	return x.sum()
}

// SaltExtra is the Extra of the first block of a prompt with a cache_salt and
// nothing else. It is 0 for no salt.
func SaltExtra(salt string) uint64 {
	if salt == "" {
		return 0
	}
	return ExtraOf(salt)
}

// digest hashes parts. Each starts with its kind and length, so that the same
// bytes cut into other parts have another digest.
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

// sum is never 0 when there was a part.
func (x *digest) sum() uint64 {
	if x.parts == 0 {
		return 0
	}
	return max(x.Sum64(), 1)
}

// extras reads the extra keys of all blocks.
func (d *Decoder) extraKeys() error {
	end := d.in.Offset()
	d.in.Seek(d.raw.extraAt)
	defer d.in.Seek(end)
	n, err := d.in.Array()
	if err != nil || n != len(d.event.Hashes) && n != 0 {
		// Which keys are of which block cannot be told, and without them
		// blocks of different prompts would look the same.
		return errEvent
	}
	d.extra = d.extra[:0]
	any := uint64(0)
	for range n {
		x, err := d.blockExtra()
		if err != nil {
			return err
		}
		d.extra = append(d.extra, x)
		any |= x
	}
	if any != 0 {
		d.event.Extra = d.extra
	}
	return nil
}

// keys reads the extra keys of one block. The adapter's name comes first where
// there is one; it is the event's already.
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

// part adds the next value to a digest.
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

// opaque adds a value that no engine has in its keys today, as it is encoded.
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

// salted notes SGLang's salt where vLLM's would be. SGLang sends it with every
// event; only a prompt's first block needs it, since all others follow from it.
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
