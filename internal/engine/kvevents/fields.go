// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"encoding/binary"
	"math"

	"github.com/bauxite/caddy-kvaware/internal/engine/msgpack"
)

// Limits of an event; larger ones are skipped. A prompt of a million tokens fits.
const (
	maxTokens    = 1 << 20
	maxHashes    = 1 << 17
	maxBlockSize = 1 << 16
	maxName      = 256 // bytes of an adapter's name
	maxGroup     = 1 << 12
	maxRank      = 1 << 16
)

// field is one field of an event.
type field uint8

const (
	ignored field = iota
	blockHashes
	parentHash
	tokenIDs
	blockSize
	loraID
	medium
	loraName
	extraKeys
	groupIndex
	attentionKind
	locality
	cacheSalt
)

// The fields of array events by position; the element at 0 is the type.
var (
	storedPositions = []field{ignored, blockHashes, parentHash, tokenIDs, blockSize, loraID, medium,
		loraName, extraKeys, groupIndex, attentionKind}
	removedPositions = []field{ignored, blockHashes, medium, groupIndex}
)

// positionsOf returns the fields of an array event by position, and its least
// number of elements.
func positionsOf(kind Kind) (positions []field, least int) {
	switch kind {
	case Stored:
		return storedPositions, 5
	case Removed:
		return removedPositions, 2
	}
	return nil, 1
}

// fieldOf returns the field of a name in a map event.
func fieldOf(kind Kind, name []byte) field {
	if kind == Cleared {
		return ignored
	}
	switch string(name) {
	case "block_hashes":
		return blockHashes
	case "medium":
		return medium
	case "group_idx":
		return groupIndex
	case "locality":
		return locality
	}
	if kind == Removed {
		return ignored
	}
	switch string(name) {
	case "parent_block_hash":
		return parentHash
	case "token_ids":
		return tokenIDs
	case "block_size":
		return blockSize
	case "lora_id":
		return loraID
	case "lora_name":
		return loraName
	case "extra_keys":
		return extraKeys
	case "kv_cache_spec_kind":
		return attentionKind
	case "cache_salt":
		return cacheSalt
	}
	return ignored
}

// fields holds values that can only be used when the whole event was read, since
// fields come in any order.
type fields struct {
	hashes  bool // present
	parent  bool // present and not nil
	remote  bool
	extraAt int    // offset of the extra keys; 0: none
	loraID  []byte // encoded; nil: none
	salt    []byte
}

// field reads a field's value into d.event or d.raw.
func (d *Decoder) field(f field) error {
	if f == ignored {
		return eventError(d.in.Skip())
	}
	if f != parentHash && d.in.Nil() {
		return nil
	}
	switch f {
	case blockHashes:
		return d.blockHashes()
	case parentHash:
		return d.parentHash()
	case tokenIDs:
		return d.tokenIDs()
	case extraKeys:
		d.raw.extraAt = d.in.Offset()
		return eventError(d.in.Skip())
	case loraName:
		return d.loraName()
	}
	return d.scalar(f)
}

// scalar reads a field that is one number or one short string.
func (d *Decoder) scalar(f field) (err error) {
	switch f {
	case blockSize:
		d.event.BlockSize, err = d.count(maxBlockSize)
	case groupIndex:
		d.event.Group, err = d.count(maxGroup)
	case loraID:
		start := d.in.Offset()
		if err = d.in.Skip(); err == nil {
			n := d.in.Offset() - start
			d.in.Seek(start)
			d.raw.loraID = d.in.Next(n)
		}
	default:
		var s []byte
		if s, err = d.in.Str(); err != nil {
			break
		}
		switch f {
		case medium:
			d.event.Tier = tierOf(s)
		case attentionKind:
			d.event.Attention = attentionOf(s)
		case locality:
			d.raw.remote = isRemote(s)
		case cacheSalt:
			d.raw.salt = s
		}
	}
	return eventError(err)
}

// eventError turns any error into errEvent.
func eventError(err error) error {
	if err != nil {
		return errEvent
	}
	return nil
}

// count reads a number from 0 to most.
func (d *Decoder) count(most uint64) (int, error) {
	n, negative, err := d.in.Int()
	if err != nil || negative || n > most {
		return 0, errEvent
	}
	return int(n), nil
}

// hash reads the hash of a block. Engines that publish numbers, signed or not, cut
// a digest to its last eight bytes. Whole digests are cut the same way here, so
// that one block has one hash in either form.
func (d *Decoder) hash() (uint64, error) {
	if d.in.Peek() == msgpack.Bin {
		digest, err := d.in.Bin()
		if err != nil || len(digest) < 8 {
			return 0, errEvent
		}
		return binary.BigEndian.Uint64(digest[len(digest)-8:]), nil
	}
	bits, _, err := d.in.Int()
	return bits, eventError(err)
}

func (d *Decoder) parentHash() (err error) {
	if d.raw.parent = !d.in.Nil(); d.raw.parent {
		d.event.Parent, err = d.hash()
	}
	return err
}

func (d *Decoder) blockHashes() error {
	n, err := d.in.Array()
	if err != nil || n > maxHashes {
		return errEvent
	}
	d.hashes = d.hashes[:0]
	for range n {
		h, err := d.hash()
		if err != nil {
			return err
		}
		d.hashes = append(d.hashes, h)
	}
	d.event.Hashes, d.raw.hashes = d.hashes, true
	return nil
}

// tokenIDs reads the tokens. Anything but numbers of 32 bits makes the event
// unusable, such as the pairs that SGLang publishes with EAGLE.
func (d *Decoder) tokenIDs() error {
	n, err := d.in.Array()
	if err != nil || n > maxTokens {
		return errEvent
	}
	d.tokens = d.tokens[:0]
	for range n {
		id, _, err := d.in.Int()
		if err != nil || id > math.MaxUint32 { // negative ones are larger, too
			return errEvent
		}
		d.tokens = append(d.tokens, uint32(id))
	}
	d.event.Tokens = d.tokens
	return nil
}

// loraName reads the adapter's name of vLLM. SGLang's arrays have a map with the
// salt at the same position.
func (d *Decoder) loraName() error {
	if d.in.Peek() != msgpack.Map {
		name, err := d.in.Str()
		if err != nil || len(name) > maxName {
			return errEvent
		}
		d.event.LoRA = name
		return nil
	}
	n, err := d.in.Map()
	if err != nil {
		return errEvent
	}
	for range n {
		name, err := d.in.Str()
		if err != nil {
			return errEvent
		}
		f := ignored
		if string(name) == "cache_salt" {
			f = cacheSalt
		}
		if err := d.field(f); err != nil {
			return err
		}
	}
	return nil
}

// complete sets the values that depend on several fields.
func (d *Decoder) complete() error {
	e := &d.event
	if e.Kind == Cleared {
		return nil
	}
	if !d.raw.hashes {
		return errEvent
	}
	if e.Kind == Removed {
		return nil
	}
	e.Root = !d.raw.parent
	if len(e.LoRA) == 0 && len(d.raw.loraID) > 0 {
		// An adapter without a name is not the base model. No request names an
		// adapter like this, so nothing will match.
		if len(d.raw.loraID) > maxName {
			return errEvent
		}
		d.lora = append(append(d.lora[:0], "\x00lora_id "...), d.raw.loraID...)
		e.LoRA = d.lora
	}
	if d.raw.extraAt > 0 {
		if err := d.extraKeys(); err != nil {
			return err
		}
	}
	d.addSalt()
	return nil
}
