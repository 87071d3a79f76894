// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

const (
	// startLead is how long it is taken to have a prompt's tokens and give
	// LMCache an order, until that has happened; leadShare how much one time
	// changes the average.
	startLead = 20 * time.Millisecond
	leadShare = 0.2

	// lookupFor is for how long it is believed what LMCache has said about a
	// prompt: some turns of a conversation.
	lookupFor = time.Minute
	// lookupAfter is how long after its answer LMCache is asked who holds a
	// prompt: engines store its blocks while they answer, and nodes report to a
	// coordinator once a second. Who is asked before says that nobody does.
	lookupAfter = 2 * time.Second
)

// Options are the parts of a Stager.
type Options struct {
	Client  lmcache.Client
	Wait    time.Duration // the longest time that a request may be held for its staging
	WarmGPU bool          // send one-token requests ahead of expected turns
	Totals  *Totals       // counts what the stager does
}

// stager has LMCache bring the KV blocks of prompts up to the CPU memory of the
// nodes that they go to, for one policy.
type stager struct {
	wait    time.Duration
	service *lmcache.Service
	shelf   tokenShelf
	turns   *turns
	warmer  *warmer // nil: GPUs are not warmed
	looks   bool    // LMCache can be asked who holds a prompt
	lead    atomic.Int64
	totals  *Totals
}

// New returns a Stager, to be closed.
func New(o Options) Stager {
	s := &stager{wait: o.Wait, turns: newTurns(time.Now), totals: o.Totals}
	s.service = lmcache.NewService(lmcache.Options{Client: o.Client, LookupTTL: lookupFor, LookupDelay: lookupAfter})
	s.looks = s.service.CanLookup()
	s.lead.Store(int64(startLead))
	if o.WarmGPU {
		s.warmer = newWarmer(time.Now)
	}
	s.totals.open(s)
	return s
}

// Close ends all staging, and waits for what is under way.
func (s *stager) Close() {
	s.turns.close()
	if s.warmer != nil {
		s.warmer.close()
	}
	s.service.Close()
	s.totals.close(s)
}

// learnLead takes in how long it took to have a prompt's tokens.
func (s *stager) learnLead(took time.Duration) {
	old := s.lead.Load()
	s.lead.Store(old + int64(leadShare*float64(int64(took)-old)))
}

// key names the prompt's beginning up to a hash for LMCache, which keeps apart
// what was made under different salts.
func (p *Prompt) key(hash uint64) uint64 { return hash ^ p.Variant ^ xxhash.Sum64String(p.Salt) }

// whole names all of the prompt.
func (p *Prompt) whole() uint64 {
	switch {
	case len(p.Ends) > 0:
		return p.key(p.Ends[len(p.Ends)-1])
	case len(p.Chain) > 0:
		return p.key(p.Chain[len(p.Chain)-1])
	}
	return p.key(0) // LMCache has no chunk that short
}

// beginning names what a prompt shares with others that have the same first
// blocks: a document before other questions, or a conversation's next turn.
func (p *Prompt) beginning(blocks int) uint64 {
	if blocks < 1 || blocks > len(p.Chain) {
		return p.whole()
	}
	return p.key(p.Chain[blocks-1])
}

// next names what the next turn shares with this one.
func (p *Prompt) next() uint64 { return p.beginning(len(p.Chain)) }

// stored names what there can be of a prompt to be staged: what some upstream
// was sent before, or all of it if LMCache has more.
func (p *Prompt) stored(o routing.Prediction) uint64 {
	if o.Offload.Storage > o.Longest {
		return p.whole()
	}
	return p.beginning(o.LongestBlocks)
}

// offload returns what LMCache is known to hold of a prompt beside an upstream:
// what it said about the whole of it, or an earlier turn.
func (s *stager) offload(p *Prompt, address string) (o routing.Offload, known bool) {
	for _, end := range slices.Backward(p.Ends) {
		if h, fresh := s.service.LastLookup(p.key(end), address); fresh {
			return routing.Offload{CPU: h.Memory, Storage: h.Storage}, true
		}
	}
	return routing.Offload{}, false
}

// Consult implements Stager.
func (s *stager) Consult(p *Prompt, candidates []routing.Candidate, room []routing.Offload) (_ []routing.Offload, known bool) {
	if !s.looks {
		return room[:0], false
	}
	room = slices.Grow(room[:0], len(candidates))
	for i := range candidates {
		if o, told := s.offload(p, candidates[i].Address); told {
			known = true
			room = append(room, o)
			candidates[i].Offload = &room[len(room)-1]
		}
	}
	return room, known
}
