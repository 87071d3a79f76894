// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/tokenize"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// prompts fetches the tokens of prompts from engines, beside the requests, and
// links them to their texts: that is how the next prompt with the same text is
// found in what engines say they hold. Like the fleet it is there once for all
// configs of the process.
type prompts struct {
	fleet     *routing.Router
	transport *http.Transport
	queue     *tokenize.Queue
	late      atomic.Int32 // prompts that wait for the first events
}

func newPrompts(f *routing.Router) *prompts {
	transport := tokenize.NewTransport()
	return &prompts{fleet: f, transport: transport, queue: tokenize.NewQueue(&tokenize.Fetcher{Transport: transport}, nil)}
}

// text is a prompt as it was signed, in its fetched tokens' company.
type text struct {
	signature janitor.Signature
	lineage   routing.TokenKey
	epoch     uint64 // of the fleet
	salt      string // cache_salt, as the engine gets it
	alone     bool   // no engine is followed: its tokens are of no use to others
	attempt   uint64 // at sending it
}

// fetch has the tokens of the exchange's prompt fetched from the engine at an
// address. use is called with those in front of anything that is not text, or
// with nil when there are none; they are wiped when it returns. fetch reports
// whether it will be called: it is not when the prompt's tokens are on their way
// for another request, or cannot be had.
func (s *prompts) fetch(x *janitor.Exchange, t text, address string, use func([]uint32)) bool {
	kept, ok := x.Retain()
	return ok && s.fetchOf(kept, t, address, use)
}

// fetchOf is fetch for what was retained of an exchange, which it releases.
func (s *prompts) fetchOf(kept *janitor.Retained, t text, address string, use func([]uint32)) bool {
	job := tokenize.Job{Upstream: address, Key: t.key(), API: kept.API(), Body: kept.Body()}
	job.Done = func(found *tokenize.Tokens, err error) {
		defer kept.Release()
		if err != nil {
			use(nil)
			return
		}
		if !t.alone {
			s.link(kept, t, found)
		}
		use(found.IDs[:found.BeforeMedia])
	}
	if !s.queue.Add(job) {
		kept.Release()
		return false
	}
	return true
}

// key names a prompt: two with the same have the same tokens. A further attempt
// at the same prompt has another, as its tokens are wanted from another engine.
func (t *text) key() uint64 { return t.name() + t.attempt }

// name names a prompt.
func (t *text) name() uint64 {
	chain := t.chain()
	if len(chain) == 0 {
		return t.signature.Variant() // nothing can be linked to it anyway
	}
	return chain[len(chain)-1] ^ t.signature.Variant()
}

// link enters a prompt's tokens in the index.
func (s *prompts) link(kept *janitor.Retained, t text, found *tokenize.Tokens) {
	sizes := s.fleet.BlockSizes()
	p := &tokenised{text: t}
	p.anchors, p.ends = t.anchors(kept, found, slices.Max(append(sizes, usualBlock)))
	if len(sizes) > 0 {
		p.ids = found.IDs[:found.BeforeMedia]
		s.enter(p, sizes)
		return
	}
	if s.late.Add(1) > maxLate {
		s.late.Add(-1)
		return
	}
	// The first engine has not said yet how large its blocks are: its events are
	// on their way.
	p.ids = slices.Clone(found.IDs[:found.BeforeMedia])
	s.enterLate(p)
}

const (
	// usualBlock is the size of engines' blocks by default, in tokens.
	usualBlock = 16
	// maxLate is how many prompts may wait for the first events, and lateTries
	// how often it is looked whether they are there, every latePause.
	maxLate   = 64
	lateTries = 20
	latePause = 50 * time.Millisecond
)

// enterLate enters a prompt once the size of blocks is known, and wipes it.
func (s *prompts) enterLate(p *tokenised) {
	sizes := s.fleet.BlockSizes()
	if p.tries++; len(sizes) == 0 && p.tries < lateTries {
		time.AfterFunc(latePause, func() { s.enterLate(p) })
		return
	}
	s.enter(p, sizes)
	clear(p.ids)
	s.late.Add(-1)
}

// tokenised is a prompt and its tokens.
type tokenised struct {
	text
	ids           []uint32
	anchors, ends []kvindex.Anchor
	tries         int
}

// enter enters a prompt in the index for each size of blocks that engines have:
// up to its end, and up to the ends of its messages, where others may go on.
func (s *prompts) enter(p *tokenised, sizes []int) {
	if !s.fleet.IsCurrentEpoch(p.epoch) {
		return // the text's hashes mean nothing any more
	}
	index, chain := s.fleet.Index(), p.signature.Chain()
	for _, size := range sizes {
		key := p.lineage
		key.BlockTokens = size
		space := index.Space(key)
		contradicted := index.Link(space, p.chain(), p.anchors, p.ids)
		if contradicted { // the epoch has ended, and the next begins with this prompt
			space = index.Space(key)
			contradicted = index.Link(space, p.chain(), p.anchors, p.ids)
		}
		// Not the last one: that is the prompt's own, with what the template has
		// put behind it.
		ends := p.signature.Ends()
		for i, end := range ends[:max(0, len(ends)-1)] {
			at := end.Bytes / p.signature.BlockSize()
			if contradicted || !p.ends[i].Exact || at > len(chain) {
				continue
			}
			contradicted = index.Link(space, append(slices.Clone(chain[:at]), end.Hash), append(slices.Clone(p.anchors[:at]), p.ends[i]), p.ids)
		}
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
func (t *text) anchors(kept *janitor.Retained, found *tokenize.Tokens, blockTokens int) (anchors, ends []kvindex.Anchor) {
	p := kvindex.TokenizedPrompt{
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
	for _, end := range t.signature.Ends() {
		p.MessageEnds = append(p.MessageEnds, end.Bytes)
	}
	anchors, ends = kvindex.AlignTokens(p)
	return append(anchors, kvindex.Anchor{Tokens: len(found.IDs)}), ends
}

// close ends all fetching, and the connections that it was done over.
func (s *prompts) close() {
	s.queue.Close()
	s.transport.CloseIdleConnections()
}

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
