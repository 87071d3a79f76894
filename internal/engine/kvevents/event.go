// SPDX-License-Identifier: Apache-2.0

package kvevents

// Kind is what an event says.
type Kind uint8

// The kinds of events.
const (
	Stored  Kind = iota + 1 // blocks were entered into a prefix cache
	Removed                 // copies of blocks were removed from it
	Cleared                 // all of the publisher's blocks are gone
)

// Tier is where an engine keeps a block.
type Tier uint8

// The tiers, fastest first.
const (
	GPU Tier = iota
	CPU
	Disk
	NumTiers = iota
)

// TierWeights holds what a token in each Tier counts: from 0, as if the engine had
// to compute it, to 1, as if the GPU held it.
type TierWeights = [NumTiers]float64

// Attention tells whether a prefix match can be made of a group's blocks.
type Attention uint8

// Kinds of attention.
const (
	Full   Attention = iota // every block of a prefix is needed, and kept: also when nothing is said
	Window                  // sliding windows, state spaces, encoders: not a prefix cache
)

// Event is one event of a batch. What the slices hold is only valid until the
// decoder goes on.
type Event struct {
	Kind Kind
	// Hashes are the engine's names for the blocks, as 64 bits whatever the wire
	// form. vLLM's cover all that Extra does; SGLang's do not cover the salt.
	Hashes []uint64
	Tier   Tier
	Group  int // index of the KV cache group, 0 when there is only one

	// Of Stored only.
	Root      bool     // the first block is the first of a prompt
	Parent    uint64   // else: the name of the block before the first
	Tokens    []uint32 // empty: another tier now also holds these blocks
	BlockSize int      // tokens a block; may be 0 without tokens
	LoRA      []byte   // the adapter's name, empty: none; starts with a zero byte when the engine only gave a number
	Attention Attention
	// Extra has one element for each block when not empty: what went into the
	// block's hash beside its tokens and the adapter (see ExtraOf); 0: nothing.
	Extra []uint64
}
