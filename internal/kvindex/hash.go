// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Key is what must be equal for the tokens of two prompts to be comparable.
type TokenKey struct {
	// Model is the name the request asks for; its epoch is in the space (EndEpoch).
	Model string
	// Adapter is the name of the LoRA adapter as events have it, empty for none.
	Adapter string
	// Salt is what a first block with the request's cache_salt has as Extra
	// (kvevents.SaltExtra), 0 without a salt.
	Salt uint64
	// BlockTokens is the engine's block size, at least 1.
	BlockTokens int
	// Variant is a digest of what changes the tokens and is neither in the text
	// chain nor above: of a chat request add_generation_prompt,
	// continue_final_message, add_special_tokens and tool_choice, where they are
	// given.
	Variant uint64
}

// Space is a Key made ready, of one epoch. The zero value is the space of nothing.
type Space struct {
	textSeed    uint64 // mixed with each text block
	root        uint64 // own hash before the first block
	salt        uint64
	blockTokens uint32
	slot        uint32 // of the epoch
	epoch       uint32
}

// BlockTokens is the engine's block size of the space.
func (s Space) BlockTokens() int { return int(s.blockTokens) }

// epochSlots is how many epochs are told apart: models are spread over them, and
// one that ends takes the links of others in the same slot with it.
const epochSlots = 256

// Space returns the space of a key in the present epoch of its model.
func (x *Index) Space(k TokenKey) Space {
	if k.BlockTokens < 1 || k.BlockTokens > maxTokens {
		return Space{}
	}
	s := Space{root: x.root(k.Adapter), salt: k.Salt, blockTokens: uint32(k.BlockTokens), slot: x.epochSlot(k.Model)}
	s.epoch = x.epochs[s.slot].Load()
	h := mix(x.seed ^ xxhash.Sum64String(k.Model))
	h = mix(h ^ xxhash.Sum64String(k.Adapter))
	h = mix(h ^ k.Variant)
	h = mix(h ^ k.Salt)
	s.textSeed = mix(h ^ uint64(s.blockTokens)<<32 ^ uint64(s.epoch))
	return s
}

func (x *Index) epochSlot(model string) uint32 {
	return uint32(mix(x.seed^xxhash.Sum64String(model)) % epochSlots)
}

// EndEpoch ends the epoch of a model: what was linked for it means nothing any
// more. It is for changed lists of models and for engines that were restarted.
func (x *Index) EndEpoch(model string) { x.endEpoch(x.epochSlot(model)) }

func (x *Index) endEpoch(slot uint32) {
	x.epochs[slot].Add(1)
	x.endedEpochs.Add(1)
}

// root is the own hash before the first block of a prompt for an adapter.
func (x *Index) root(adapter string) uint64 { return mix(x.seed + xxhash.Sum64String(adapter)) }

// key is what a text block is found by.
func (s Space) key(text uint64) uint64 { return mix(text ^ s.textSeed) }

// mix spreads the bits of a word (finalizer of SplitMix64).
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

// Chain appends the own hashes of the whole blocks of a prompt's tokens: what a
// feed enters for an engine that stores these tokens, as long as there are no
// media in them.
func (x *Index) Chain(s Space, tokens []uint32, dst []uint64) []uint64 {
	if s.blockTokens == 0 {
		return dst
	}
	h, extra, n := s.root, s.salt, int(s.blockTokens)
	for len(tokens) >= n {
		h = blockHash(h, extra, tokens[:n])
		dst = append(dst, h)
		tokens, extra = tokens[n:], 0
	}
	return dst
}

// hashedTokens is how many tokens are hashed at a time.
const hashedTokens = 64

// own is the hash of a block of tokens behind a block with the hash before.
func blockHash(before, extra uint64, tokens []uint32) uint64 {
	var b [24 + 4*hashedTokens]byte
	binary.LittleEndian.PutUint64(b[0:], before)
	binary.LittleEndian.PutUint64(b[8:], uint64(len(tokens)))
	binary.LittleEndian.PutUint64(b[16:], extra)
	at := 24
	for {
		n := min(len(tokens), hashedTokens)
		for i, t := range tokens[:n] {
			binary.LittleEndian.PutUint32(b[at+4*i:], t)
		}
		h := xxhash.Sum64(b[:at+4*n])
		if tokens = tokens[n:]; len(tokens) == 0 {
			return h
		}
		binary.LittleEndian.PutUint64(b[0:], h)
		at = 8
	}
}
