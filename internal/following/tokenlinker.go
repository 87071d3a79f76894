// SPDX-License-Identifier: Apache-2.0

package following

import (
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/tokenize"
)

const (
	// usualBlock is the engines' default block size, in tokens.
	usualBlock = 16
	// maxWaiting bounds the prompts that wait for the first events.
	maxWaiting = 64
	// blockSizeTries and blockSizePause bound a prompt's wait for the first
	// events, which show the engines' block size.
	blockSizeTries = 20
	blockSizePause = 50 * time.Millisecond
)

// TokenLinker fetches the tokens of prompts from engines, beside the requests,
// and links the text of each prompt to its tokens. The next prompt with the
// same text is then found in the engines' events. There is one for all configs
// of the process. It is safe for concurrent use.
type TokenLinker struct {
	router    *routing.Router
	transport *http.Transport
	fetcher   *tokenize.Fetcher
	queue     *tokenize.Queue
	waiting   atomic.Int32 // prompts that wait for the first events
	missing   missingEndpoints
}

// NewTokenLinker returns a TokenLinker. It calls onMissing once for an upstream that
// has no endpoint for the tokens of an API's requests, until Forget or Restarted.
func NewTokenLinker(router *routing.Router, onMissing func(upstream, api string)) *TokenLinker {
	transport := tokenize.NewTransport()
	fetcher := &tokenize.Fetcher{Transport: transport}
	return &TokenLinker{
		router: router, transport: transport, fetcher: fetcher, queue: tokenize.NewQueue(fetcher, nil),
		missing: missingEndpoints{report: onMissing},
	}
}

// Fetch asks the engine at an address for a prompt's tokens and releases the
// body. It calls use once: with the tokens ahead of anything that is not text,
// or with nil when there are none. The tokens are wiped when use returns. Fetch
// returns false, and does not call use, when the tokens are on their way for
// another request or cannot be fetched.
func (l *TokenLinker) Fetch(p SignedPrompt, body Body, address string, use func(tokens []uint32)) bool {
	job := tokenize.Job{Upstream: address, Key: p.key(), API: body.API(), Body: body.Body()}
	job.Done = func(found *tokenize.Tokens, err error) {
		defer body.Release()
		if err != nil {
			if err == tokenize.ErrUnavailable {
				l.missing.note(address, body.API().String())
			}
			use(nil)
			return
		}
		if !p.Unlinked {
			l.link(p, body, found)
		}
		use(found.IDs[:found.BeforeMedia])
	}
	if !l.queue.Add(job) {
		body.Release()
		return false
	}
	return true
}

// Failing reports whether the last fetches from an upstream failed.
func (l *TokenLinker) Failing(upstream string) bool { return l.queue.Failing(upstream) }

// Forget drops the state of an upstream that has gone.
func (l *TokenLinker) Forget(upstream string) {
	l.queue.Forget(upstream)
	l.Restarted(upstream)
}

// Restarted has an upstream asked again at the endpoints that it did not have: it may
// have been restarted with other options.
func (l *TokenLinker) Restarted(upstream string) {
	l.fetcher.Forget(upstream)
	l.missing.forget(upstream)
}

// Close ends all fetching and closes its connections.
func (l *TokenLinker) Close() {
	l.queue.Close()
	l.transport.CloseIdleConnections()
}

// tokenizedPrompt is a prompt with its tokens, and with the anchors that map its
// text to them.
type tokenizedPrompt struct {
	SignedPrompt
	tokens        []uint32
	anchors, ends []kvindex.Anchor
	tries         int
}

// link enters a prompt's tokens in the index.
func (l *TokenLinker) link(p SignedPrompt, body Body, found *tokenize.Tokens) {
	sizes := l.router.BlockSizes()
	t := &tokenizedPrompt{SignedPrompt: p}
	t.anchors, t.ends = p.anchors(body, found, slices.Max(append(sizes, usualBlock)))
	if len(sizes) > 0 {
		t.tokens = found.IDs[:found.BeforeMedia]
		l.enter(t, sizes)
		return
	}
	if l.waiting.Add(1) > maxWaiting {
		l.waiting.Add(-1)
		return
	}
	// No event has shown a block size yet: the first events are on their way.
	t.tokens = slices.Clone(found.IDs[:found.BeforeMedia])
	l.enterLater(t)
}

// enterLater enters a prompt once a block size is known, and wipes its tokens.
func (l *TokenLinker) enterLater(t *tokenizedPrompt) {
	sizes := l.router.BlockSizes()
	if t.tries++; len(sizes) == 0 && t.tries < blockSizeTries {
		time.AfterFunc(blockSizePause, func() { l.enterLater(t) })
		return
	}
	l.enter(t, sizes)
	clear(t.tokens)
	l.waiting.Add(-1)
}

// enter enters a prompt in the index for each block size of the engines: up to
// its end, and up to the ends of its messages, where other prompts may continue.
func (l *TokenLinker) enter(t *tokenizedPrompt, sizes []int) {
	if !l.router.IsCurrentEpoch(t.Epoch) {
		return // the hashes of the text mean nothing any more
	}
	for _, size := range sizes {
		key := t.TokenKey
		key.BlockTokens = size
		l.enterSpace(t, key)
	}
}

// enterSpace enters a prompt for one block size.
func (l *TokenLinker) enterSpace(t *tokenizedPrompt, key routing.TokenKey) {
	index := l.router.Index()
	space := index.Space(key)
	if index.Link(space, t.fullChain(), t.anchors, t.tokens) {
		// The epoch has ended, and the next begins with this prompt.
		space = index.Space(key)
		if index.Link(space, t.fullChain(), t.anchors, t.tokens) {
			return
		}
	}
	// The last end is the prompt's own, with the tokens that the chat template
	// adds.
	for i, end := range t.Ends[:max(0, len(t.Ends)-1)] {
		blocks := end.Bytes / t.BlockBytes
		if !t.ends[i].Exact || blocks > len(t.Chain) {
			continue
		}
		chain := append(slices.Clone(t.Chain[:blocks]), end.Hash)
		if index.Link(space, chain, append(slices.Clone(t.anchors[:blocks]), t.ends[i]), t.tokens) {
			return
		}
	}
}
