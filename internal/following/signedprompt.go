// SPDX-License-Identifier: Apache-2.0

package following

import (
	"slices"

	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/tokenize"
)

// SignedPrompt is a signed prompt whose tokens are to be fetched and linked.
type SignedPrompt struct {
	Chain        []uint64             // hashes of its blocks
	Ends         []routing.MessageEnd // of its last messages, in the rendition
	BlockBytes   int                  // of the rendition, in each block
	CoveredBytes int                  // of the rendition that the chain covers
	Variant      uint64               // of the request members that change its tokens
	TokenKey     routing.TokenKey     // prompts with the same key have comparable tokens
	Epoch        uint64               // of the router, when it was signed
	Salt         string               // cache_salt, as the engine gets it
	Unlinked     bool                 // no engine is followed: linking is of no use
	Attempt      uint64               // at sending it, from 0
}

// Body is the scrubbed body of a request, kept until Release.
type Body interface {
	API() prompt.API
	Body() []byte
	// Render yields the rendition, piece by piece, with the message of each.
	Render(yield func(message int32, chunk []byte) bool)
	Release()
}

// Name identifies the prompt: prompts with the same name have the same tokens.
func (p *SignedPrompt) Name() uint64 {
	chain := p.fullChain()
	if len(chain) == 0 {
		return p.Variant // without a chain nothing can be linked
	}
	return chain[len(chain)-1] ^ p.Variant
}

// key identifies one fetch of the prompt's tokens. A further attempt asks
// another engine, so it has another key.
func (p *SignedPrompt) key() uint64 { return p.Name() + p.Attempt }

// fullChain returns the blocks of the prompt and its end, which the next turn
// continues.
func (p *SignedPrompt) fullChain() []uint64 {
	if len(p.Ends) == 0 {
		return p.Chain
	}
	return append(slices.Clip(p.Chain), p.Ends[len(p.Ends)-1].Hash)
}

// anchors returns, for each element of the full chain, the number of tokens up
// to its end, and the same for the ends of messages. All tokens come before the
// prompt's own end: the next turn continues there, with the answer behind the
// tokens by which the chat template starts it. If that is wrong, the next turn's
// tokens show it.
func (p *SignedPrompt) anchors(body Body, found *tokenize.Tokens, blockTokens int) (anchors, ends []kvindex.Anchor) {
	t := kvindex.TokenizedPrompt{
		Render:       body.Render,
		BlockBytes:   p.BlockBytes,
		Blocks:       len(p.Chain),
		CoveredBytes: p.CoveredBytes,
		BlockTokens:  blockTokens,
		Tokens:       len(found.IDs),
	}
	if found.HasTexts() {
		t.Text = found.Text
	}
	for _, end := range p.Ends {
		t.MessageEnds = append(t.MessageEnds, end.Bytes)
	}
	anchors, ends = kvindex.AlignTokens(t)
	return append(anchors, kvindex.Anchor{Tokens: len(found.IDs)}), ends
}
