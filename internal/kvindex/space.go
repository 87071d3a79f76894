// SPDX-License-Identifier: Apache-2.0

package kvindex

import "github.com/cespare/xxhash/v2"

// TokenKey says which prompts have comparable tokens: those with equal keys.
type TokenKey struct {
	// Model is the requested model. The space has its epoch, see EndEpoch.
	Model string
	// Adapter is the LoRA adapter as in the events, empty for none.
	Adapter string
	// Salt is the Extra of a first block with the request's cache_salt (see
	// kvevents.SaltExtra), 0 without a salt.
	Salt uint64
	// BlockTokens is the engine's block size, at least 1.
	BlockTokens int
	// Variant is a digest of what else changes the tokens and is not in the text
	// chain: of a chat request add_generation_prompt, continue_final_message,
	// add_special_tokens and tool_choice, where they are given.
	Variant uint64
}

// Space is a prepared TokenKey, in one epoch of its model. Nothing can be linked in
// the zero value.
type Space struct {
	textSeed    uint64 // mixed into the hash of each text block
	root        uint64 // hash before the first block
	salt        uint64
	blockTokens uint32
	slot        uint32 // the epoch's
	epoch       uint32
}

// BlockTokens returns the space's block size.
func (s Space) BlockTokens() int { return int(s.blockTokens) }

// epochSlots is the number of separate epochs. Models are spread over them: one that
// ends takes the links of the others in its slot with it.
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

// EndEpoch ends the epoch of a model: its links mean nothing any more. Call it when
// the list of models has changed or an engine was restarted.
func (x *Index) EndEpoch(model string) { x.endEpoch(x.epochSlot(model)) }

func (x *Index) endEpoch(slot uint32) {
	x.epochs[slot].Add(1)
	x.endedEpochs.Add(1)
}

// root returns the hash before the first block of a prompt for an adapter.
func (x *Index) root(adapter string) uint64 { return mix(x.seed + xxhash.Sum64String(adapter)) }

// key returns the key of a text block in the log.
func (s Space) key(text uint64) uint64 { return mix(text ^ s.textSeed) }
