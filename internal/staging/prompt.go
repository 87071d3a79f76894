// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// Prompt is a signed prompt.
type Prompt struct {
	Model   string
	Salt    string   // cache_salt, as the engine gets it
	Variant uint64   // the signature's
	Chain   []uint64 // block hashes, first block first; must not change
	Ends    []uint64 // hashes of the ends of the last messages, first message first
	Tools   bool     // the answer may ask for tools to be run
}

// key names the beginning of the prompt up to a hash. LMCache keeps the blocks of
// different salts apart, so the key depends on the salt.
func (p *Prompt) key(hash uint64) uint64 { return hash ^ p.Variant ^ xxhash.Sum64String(p.Salt) }

// whole names the whole prompt.
func (p *Prompt) whole() uint64 {
	switch {
	case len(p.Ends) > 0:
		return p.key(p.Ends[len(p.Ends)-1])
	case len(p.Chain) > 0:
		return p.key(p.Chain[len(p.Chain)-1])
	}
	return p.key(0) // too short to be staged
}

// beginning names the first blocks of the prompt, which it shares with others: a
// document before other questions, or a conversation's next turn.
func (p *Prompt) beginning(blocks int) uint64 {
	if blocks < 1 || blocks > len(p.Chain) {
		return p.whole()
	}
	return p.key(p.Chain[blocks-1])
}

// nextTurn names the part of the prompt that the next turn begins with.
func (p *Prompt) nextTurn() uint64 { return p.beginning(len(p.Chain)) }

// stored names the part of the prompt that can be staged: as much as some upstream
// was sent before, or all of it if LMCache holds more.
func (p *Prompt) stored(o routing.Prediction) uint64 {
	if o.Offload.Storage > o.Longest {
		return p.whole()
	}
	return p.beginning(o.LongestBlocks)
}
