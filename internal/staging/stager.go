// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

const (
	// startLead is the assumed lead (see stager.lead) until one was measured.
	startLead = 20 * time.Millisecond
	// leadShare is the weight of the latest lead in the average.
	leadShare = 0.2

	// lookupTTL is the time for which LMCache's answer about a prompt counts: some
	// turns of a conversation.
	lookupTTL = time.Minute
	// lookupDelay is the time between an answer's end and the lookup of its prompt.
	// Engines store a prompt's blocks while they answer, and nodes report to the
	// coordinator once a second: asked earlier, it knows of no holder.
	lookupDelay = 2 * time.Second
)

// Options are the parts of a Stager.
type Options struct {
	Client  lmcache.Client
	Wait    time.Duration // the longest time that a request may be held for its staging
	WarmGPU bool          // send one-token requests ahead of expected turns
	Totals  *Totals       // counts the stagings
}

// stager implements Stager with LMCache.
type stager struct {
	service *lmcache.Service
	wait    time.Duration // the longest time that a request may be held
	tokens  tokenStore
	turns   *nextTurns
	warmer  *warmer // nil: GPUs are not warmed
	lookups bool    // LMCache can be asked which nodes hold a prompt
	totals  *Totals

	// lead is the average time from asking for a prompt's tokens to having them, in
	// nanoseconds. LMCache can begin only then.
	lead atomic.Int64
}

// New returns a Stager that stages through LMCache.
func New(o Options) Stager {
	s := &stager{
		service: lmcache.NewService(lmcache.Options{Client: o.Client, LookupTTL: lookupTTL, LookupDelay: lookupDelay}),
		wait:    o.Wait,
		turns:   newNextTurns(time.Now),
		lookups: o.Client.CanLookup(),
		totals:  o.Totals,
	}
	s.lead.Store(int64(startLead))
	if o.WarmGPU {
		s.warmer = newWarmer(time.Now)
	}
	s.totals.add(s)
	return s
}

// Close implements Stager.
func (s *stager) Close() {
	s.turns.close()
	if s.warmer != nil {
		s.warmer.close()
	}
	s.service.Close()
	s.totals.remove(s)
}

// learnLead moves the average lead towards the latest one. One of two at the same
// time may be lost.
func (s *stager) learnLead(took time.Duration) {
	old := s.lead.Load()
	s.lead.Store(old + int64(leadShare*float64(int64(took)-old)))
}

// Consult implements Stager.
func (s *stager) Consult(p *Prompt, candidates []routing.Candidate, buf []routing.Offload) (offloads []routing.Offload, known bool) {
	for i := range candidates {
		candidates[i].OffloadChunk = s.service.ChunkTokens(candidates[i].Address)
	}
	if !s.lookups {
		return buf[:0], false
	}
	buf = slices.Grow(buf[:0], len(candidates))
	for i := range candidates {
		if o, ok := s.offload(p, candidates[i].Address); ok {
			buf = append(buf, o)
			candidates[i].Offload = &buf[len(buf)-1]
		}
	}
	return buf, len(buf) > 0
}

// offload returns the part of a prompt that an upstream's LMCache holds, by the
// latest lookup of the prompt or of an earlier turn.
func (s *stager) offload(p *Prompt, upstream string) (o routing.Offload, known bool) {
	for _, end := range slices.Backward(p.Ends) {
		if h, ok := s.service.LastLookup(p.key(end), upstream); ok {
			return routing.Offload{CPU: h.Memory, Storage: h.Storage, Whole: h.Whole}, true
		}
	}
	return routing.Offload{}, false
}

// order gives LMCache an order.
func (s *stager) order(upstream string, p lmcache.Prefix, tokens *sharedTokens) *lmcache.Staging {
	return s.service.Stage(upstream, p, tokens.share())
}
