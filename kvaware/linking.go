// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"time"

	"github.com/bauxite/caddy-kvaware/janitor"
	"github.com/bauxite/caddy-kvaware/kvaware/fleet"
	"github.com/bauxite/caddy-kvaware/kvaware/residency"
	"github.com/bauxite/caddy-kvaware/kvaware/tokens"
)

// prompts fetches the tokens of prompts from engines, beside the requests, and
// links them to their texts: that is how the next prompt with the same text is
// found in what engines say they hold. Like the fleet it is there once for all
// configs of the process.
type prompts struct {
	fleet *fleet.Fleet
	queue *tokens.Queue
}

func newPrompts(f *fleet.Fleet) *prompts {
	return &prompts{fleet: f, queue: tokens.NewQueue(&tokens.Fetcher{Transport: tokens.NewTransport()}, nil)}
}

// text is a prompt as it was signed, in its fetched tokens' company.
type text struct {
	signature janitor.Signature
	lineage   fleet.Lineage
	epoch     uint64 // of the fleet
}

// fetch has the tokens of the exchange's prompt fetched from the engine at an
// address. use is called with them, or with nil when there are none; they are
// wiped when it returns. fetch reports whether it will be called: it is not when
// the prompt's tokens are on their way for another request, or cannot be had.
func (s *prompts) fetch(x *janitor.Exchange, t text, address string, use func([]uint32)) bool {
	kept, ok := x.Retain()
	if !ok {
		return false
	}
	job := tokens.Job{Upstream: address, Key: t.key(), API: kept.API(), Body: kept.Body()}
	job.Done = func(found *tokens.Tokens, err error) {
		defer kept.Release()
		if err != nil {
			use(nil)
			return
		}
		s.link(kept, t, found)
		use(found.IDs)
	}
	if !s.queue.Add(job) {
		kept.Release()
		return false
	}
	return true
}

// key names a prompt: two with the same have the same tokens.
func (t *text) key() uint64 {
	chain := t.chain()
	if len(chain) == 0 {
		return t.signature.Variant() // nothing can be linked to it anyway
	}
	return chain[len(chain)-1] ^ t.signature.Variant()
}

// link enters a prompt's tokens in the index, for each size of blocks that
// engines have.
func (s *prompts) link(kept *janitor.Retained, t text, found *tokens.Tokens) {
	if !s.fleet.IsEpoch(t.epoch) {
		return // the text's hashes mean nothing any more
	}
	for _, size := range s.fleet.BlockSizes() {
		key := t.lineage
		key.BlockTokens = size
		s.fleet.Residency().Link(s.fleet.Residency().Space(key), t.chain(), t.anchors(kept, found, size), found.IDs[:found.Usable])
	}
}

// chain is the prompt's blocks and its end: what the next turn goes on from.
func (t *text) chain() []uint64 {
	chain := t.signature.Chain()
	if ends := t.signature.Ends(); len(ends) > 0 {
		chain = append(chain[:len(chain):len(chain)], ends[len(ends)-1].Hash)
	}
	return chain
}

// anchors tells for each element of the chain how many tokens there are up to
// its end. At the end of the prompt these are all: the next turn goes on there,
// with the answer behind what the template has put there for it to begin with. If
// it does not, then that is found out when that turn's tokens are known.
func (t *text) anchors(kept *janitor.Retained, found *tokens.Tokens, blockTokens int) []residency.Anchor {
	p := residency.Prompt{
		Render:       kept.Render,
		BlockBytes:   t.signature.BlockSize(),
		Blocks:       len(t.signature.Chain()),
		CoveredBytes: t.signature.CoveredBytes(),
		BlockTokens:  blockTokens,
		Tokens:       len(found.IDs),
	}
	if found.HasTexts() {
		p.Text = found.Text
	}
	return append(residency.AlignTokens(p), residency.Anchor{Tokens: len(found.IDs)})
}

// close ends all fetching.
func (s *prompts) close() { s.queue.Close() }

// wait waits for a prompt's tokens, but not longer than d.
func wait(ctx context.Context, done <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}
