// SPDX-License-Identifier: Apache-2.0

package enginesim

import "encoding/binary"

// Encodings of events.
const (
	// EventMap is a map per event (vLLM since 0.24).
	EventMap = "map"
	// EventArray is an array per event (vLLM until 0.23).
	EventArray = "array"
	// EventSGLang is SGLang's array: signed hashes, one page per event, the salt
	// in a map at the end, no adapter name.
	EventSGLang = "sglang"
)

// kvEvent is one event about blocks.
type kvEvent struct {
	kind   string
	hashes []uint64 // published names
	root   bool     // the first block begins a prompt
	parent uint64   // otherwise the block before the first
	tokens []uint32
	lora   string
	loraID int
	salt   string
	medium string // default: GPU
	size   int    // tokens in a block, default: the engine's
}

const (
	blockStored      = "BlockStored"
	blockRemoved     = "BlockRemoved"
	allBlocksCleared = "AllBlocksCleared"
)

// eventWriter encodes batches of events.
type eventWriter struct {
	encoding    string
	blockTokens int
	wideHashes  bool // hashes are 32 bytes, not an integer
}

// batch returns the payload of one message.
func (w *eventWriter) batch(seconds float64, events []kvEvent, rank int) []byte {
	if w.encoding == EventSGLang {
		events = w.pages(events)
	}
	dst := appendFloat(appendArray(nil, 3), seconds)
	dst = appendArray(dst, len(events))
	for i := range events {
		e := &events[i]
		if w.encoding == EventMap {
			dst = w.asMap(dst, e)
		} else {
			dst = w.asArray(dst, e)
		}
	}
	return appendUint(dst, uint64(rank))
}

// pages splits stores into one event per block.
func (w *eventWriter) pages(events []kvEvent) []kvEvent {
	var out []kvEvent
	for _, e := range events {
		if e.kind != blockStored || len(e.tokens) == 0 {
			out = append(out, e)
			continue
		}
		for i, hash := range e.hashes {
			page := e
			page.hashes, page.tokens = e.hashes[i:i+1], e.tokens[i*w.blockTokens:(i+1)*w.blockTokens]
			out = append(out, page)
			e.root, e.parent = false, hash
		}
	}
	return out
}

func (w *eventWriter) asMap(dst []byte, e *kvEvent) []byte {
	switch e.kind {
	case blockStored:
		dst = appendString(appendString(appendMap(dst, 11), "type"), e.kind)
		dst = w.hashes(appendString(dst, "block_hashes"), e.hashes)
		dst = w.parent(appendString(dst, "parent_block_hash"), e)
		dst = appendTokenIDs(appendString(dst, "token_ids"), e.tokens)
		dst = appendUint(appendString(dst, "block_size"), w.size(e))
		dst = appendLoraID(appendString(dst, "lora_id"), e)
		dst = appendString(appendString(dst, "medium"), e.mediumName())
		dst = appendStringOrNil(appendString(dst, "lora_name"), e.lora)
		dst = e.extraKeys(appendString(dst, "extra_keys"))
		dst = appendUint(appendString(dst, "group_idx"), 0)
		return appendString(appendString(dst, "kv_cache_spec_kind"), "full_attention")
	case blockRemoved:
		dst = appendString(appendString(appendMap(dst, 4), "type"), e.kind)
		dst = w.hashes(appendString(dst, "block_hashes"), e.hashes)
		dst = appendString(appendString(dst, "medium"), e.mediumName())
		return appendUint(appendString(dst, "group_idx"), 0)
	default:
		return appendString(appendString(appendMap(dst, 1), "type"), e.kind)
	}
}

func (w *eventWriter) asArray(dst []byte, e *kvEvent) []byte {
	switch e.kind {
	case blockStored:
		return w.storedArray(dst, e)
	case blockRemoved:
		dst = w.hashes(appendString(appendArray(dst, 3), e.kind), e.hashes)
		return appendString(dst, e.mediumName())
	default:
		return appendString(appendArray(dst, 1), e.kind)
	}
}

func (w *eventWriter) storedArray(dst []byte, e *kvEvent) []byte {
	sglang := w.encoding == EventSGLang
	n := 9
	if sglang {
		n = 7
		if e.salt != "" {
			n = 8
		}
	}
	dst = w.hashes(appendString(appendArray(dst, n), e.kind), e.hashes)
	dst = appendTokenIDs(w.parent(dst, e), e.tokens)
	dst = appendUint(dst, w.size(e))
	dst = appendString(appendLoraID(dst, e), e.mediumName())
	switch {
	case !sglang:
		return e.extraKeys(appendStringOrNil(dst, e.lora))
	case e.salt != "":
		return appendString(appendString(appendMap(dst, 1), "cache_salt"), e.salt)
	}
	return dst
}

func (w *eventWriter) hashes(dst []byte, hashes []uint64) []byte {
	dst = appendArray(dst, len(hashes))
	for _, h := range hashes {
		dst = w.hash(dst, h)
	}
	return dst
}

func (w *eventWriter) hash(dst []byte, h uint64) []byte {
	switch {
	case w.encoding == EventSGLang:
		return appendInt(dst, int64(h))
	case w.wideHashes:
		// A digest whose last eight bytes, big-endian, are the integer form.
		var wide [32]byte
		for i := range 4 {
			binary.BigEndian.PutUint64(wide[8*i:], mix(h, uint64(i)))
		}
		binary.BigEndian.PutUint64(wide[24:], h)
		return appendBytes(dst, wide[:])
	}
	return appendUint(dst, h)
}

func (w *eventWriter) parent(dst []byte, e *kvEvent) []byte {
	if e.root || len(e.tokens) == 0 {
		return appendNil(dst)
	}
	return w.hash(dst, e.parent)
}

// size returns the tokens of a block, 0 for an event without tokens.
func (w *eventWriter) size(e *kvEvent) uint64 {
	switch {
	case len(e.tokens) == 0:
		return 0
	case e.size > 0:
		return uint64(e.size)
	}
	return uint64(w.blockTokens)
}

func appendTokenIDs(dst []byte, tokens []uint32) []byte {
	dst = appendArray(dst, len(tokens))
	for _, t := range tokens {
		dst = appendUint(dst, uint64(t))
	}
	return dst
}

func appendLoraID(dst []byte, e *kvEvent) []byte {
	if e.lora == "" {
		return appendNil(dst)
	}
	return appendUint(dst, uint64(e.loraID))
}

func (e *kvEvent) mediumName() string {
	if e.medium == "" {
		return "GPU"
	}
	return e.medium
}

// extraKeys writes the other inputs of each block's hash beside its tokens: the
// adapter's name, and the salt in the first block of a prompt.
func (e *kvEvent) extraKeys(dst []byte) []byte {
	dst = appendArray(dst, len(e.hashes))
	for i := range e.hashes {
		var keys []string
		if e.lora != "" {
			keys = append(keys, e.lora)
		}
		if e.salt != "" && e.root && i == 0 {
			keys = append(keys, e.salt)
		}
		if len(keys) == 0 {
			dst = appendNil(dst)
			continue
		}
		dst = appendArray(dst, len(keys))
		for _, k := range keys {
			dst = appendString(dst, k)
		}
	}
	return dst
}

// mix is a bijection of hash for every seed: the finalizer of SplitMix64
// (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
func mix(hash, seed uint64) uint64 {
	hash += seed*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15
	hash = (hash ^ hash>>30) * 0xbf58476d1ce4e5b9
	hash = (hash ^ hash>>27) * 0x94d049bb133111eb
	return hash ^ hash>>31
}
