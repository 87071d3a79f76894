// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"time"
)

// Prompt is what routing needs to know of a request.
type Prompt struct {
	// Chain is the prompt's block hashes, each of which commits to all before
	// it. It is kept, and must not change.
	Chain []uint64
	// Tokens is the prompt's length, as estimated; at least 1.
	Tokens int
	// BlockTokens is how many tokens a block of the chain stands for.
	BlockTokens int
	// Epoch is the fleet's when the chain was made, see Fleet.Clear.
	Epoch uint64
	// Stream says that the answer will tell when its first token is there.
	Stream bool
}

// Request is one request on its way through the fleet: what was recorded for
// it, so that exactly that can be taken back. After Route or Assign it is
// Confirm'ed when the engine has accepted it, has its FirstToken, and ends;
// or it ends without, and then what it added is taken back.
//
// Its methods are safe for concurrent use. All may be called at any time and
// more than once; what makes no sense at that point does nothing.
type Request struct {
	fleet    *Fleet
	chain    []uint64
	epoch    uint64
	prompt   int // tokens
	perBlock int // tokens
	stream   bool

	// Of the attempt under way; covered by the fleet's mu.
	on          *upstream // nil: none
	reservation reservation
	held        int // blocks that were known there before this attempt
	cached      int // prompt tokens predicted to be cached there
	sent        time.Time
	confirmed   bool
	first       bool
}

// NewRequest starts following a request. Nothing is recorded yet.
func (f *Fleet) NewRequest(p Prompt) *Request {
	return &Request{
		fleet:    f,
		chain:    p.Chain,
		epoch:    p.Epoch,
		prompt:   max(1, p.Tokens),
		perBlock: max(1, p.BlockTokens),
		stream:   p.Stream,
	}
}

// Tokens returns the prompt's length as estimated.
func (r *Request) Tokens() int { return r.prompt }

// current reports whether the chain still means anything.
// The caller holds mu.
func (r *Request) current() bool { return r.epoch == r.fleet.epoch }

// depart records that the request is sent to u, which is predicted to hold
// cached tokens of it. The caller holds mu.
func (r *Request) depart(u *upstream, cached int) {
	r.land() // an attempt still open has failed: there is a new one
	r.on, r.cached, r.sent = u, cached, r.fleet.now()
	r.confirmed, r.first = false, false
	uncached := r.prompt - cached
	u.footprint += int64(uncached)
	u.load.reserve(&r.reservation, r.sent, prefill(uncached), !r.stream)
	r.held = r.record(u)
	u.pending = append(u.pending, r)
}

// record enters the prompt as held by u and returns how many of its blocks
// were known there already. The caller holds mu.
func (r *Request) record(u *upstream) (held int) {
	if !r.current() {
		return len(r.chain)
	}
	return r.fleet.tree.Insert(u.id, r.chain, uint32(r.perBlock))
}

// Confirm notes that the engine has accepted the prompt: it will hold it.
// What it shares with requests still waiting for their answer is theirs no
// longer to take back.
func (r *Request) Confirm() {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	if r.on == nil || r.confirmed {
		return
	}
	r.confirmed = true
	r.unlist()
	r.record(r.on)
	for _, other := range r.on.pending {
		other.held = max(other.held, commonBlocks(other, r))
	}
}

// FirstToken notes that prefill is over: others no longer wait for it. It
// returns the time since the request was sent; ok is false when there is no
// attempt under way, or it had its first token before.
func (r *Request) FirstToken() (ttft time.Duration, ok bool) {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	if r.on == nil || r.first {
		return 0, false
	}
	r.first = true
	now := r.fleet.now()
	r.reservation.firstToken(now)
	return now.Sub(r.sent), true
}

// End releases everything that is reserved. An attempt that was not confirmed
// takes back what it has recorded.
func (r *Request) End() {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	r.land()
}

// land ends the attempt under way. The caller holds mu.
func (r *Request) land() {
	if r.on == nil {
		return
	}
	if !r.confirmed {
		r.takeBack()
	}
	r.reservation.end(r.fleet.now())
	r.on = nil
}

// takeBack removes what this attempt recorded, but for what another request
// has recorded as well. The caller holds mu.
func (r *Request) takeBack() {
	r.unlist()
	u := r.on
	u.footprint = max(0, u.footprint-int64(r.prompt-r.cached))
	if r.held >= len(r.chain) || !r.current() {
		return
	}
	r.fleet.tree.Cut(u.id, r.chain, r.held)
	for _, other := range u.pending {
		// The claim is the other request's now, to keep or to take back.
		if commonBlocks(other, r) > r.held {
			other.held = min(other.held, other.record(u))
		}
	}
}

// unlist takes the request off its upstream's pending ones.
func (r *Request) unlist() {
	if i := slices.Index(r.on.pending, r); i >= 0 {
		r.on.pending = slices.Delete(r.on.pending, i, i+1)
	}
}

// commonBlocks returns how many blocks two prompts share from the start. An
// equal hash means an equal prefix, because each hash covers all before it.
func commonBlocks(a, b *Request) int {
	if a.epoch != b.epoch {
		return 0
	}
	low, high := 0, min(len(a.chain), len(b.chain))
	for low < high {
		if mid := (low + high + 1) / 2; a.chain[mid-1] == b.chain[mid-1] {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low
}
