// SPDX-License-Identifier: Apache-2.0

package kvevents

import "github.com/bauxite/caddy-kvaware/radixcache"

// Kind is the type of an event.
type Kind uint8

// The kinds of events.
const (
	Stored  Kind = iota + 1 // blocks were entered into a prefix cache
	Removed                 // copies of blocks were removed from it
	Cleared                 // all of the publisher's blocks are gone
)

// Tier is the kind of memory that an engine keeps a block in.
type Tier = radixcache.Tier

// The tiers, fastest first.
const (
	GPU      = radixcache.GPU
	CPU      = radixcache.CPU
	Disk     = radixcache.Disk
	NumTiers = int(radixcache.NumTiers)
)

// TierWeights holds the worth of a token in each Tier: from 0, as if the engine
// had to compute it, to 1, as if the GPU held it.
type TierWeights = [NumTiers]float64

// Attention says whether a group's blocks can make a prefix match.
type Attention uint8

// Kinds of attention.
const (
	Full   Attention = iota // needs and keeps every block of a prefix; the default
	Window                  // sliding windows, state spaces, encoders: no prefix cache
)

// Event is one event of a batch. Its slices are valid until the decoder goes on.
type Event struct {
	Kind Kind
	// Hashes are the engine's hashes of the blocks, as 64 bits in every wire form.
	// vLLM's cover all that Extra does; SGLang's do not cover the salt.
	Hashes []uint64
	Tier   Tier
	Group  int // index of the KV cache group, 0 when there is only one

	// Only Stored has the rest.
	Root      bool     // the first block is the first of a prompt
	Parent    uint64   // hash of the block before the first, unless Root
	Tokens    []uint32 // empty: one more tier now holds these blocks
	BlockSize int      // tokens in a block; may be 0 without tokens
	LoRA      []byte   // name of the adapter; empty: none; with a leading zero byte if the engine only gave a number
	Attention Attention
	// Extra is empty or has one digest for each block: of the parts that its hash
	// covers beside the tokens and the adapter (see ExtraOf); 0: none.
	Extra []uint64
}
