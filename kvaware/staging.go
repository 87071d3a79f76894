// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
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

// stager has LMCache bring the KV blocks of prompts up to the CPU memory of the
// nodes that they go to, for one policy.
type stager struct {
	options *LMCache
	weights [3]float64 // what a token in each tier counts
	service *lmcache.Service
	prompts *prompts
	shelf   tokenShelf
	turns   *turns
	warmer  *warmer // nil: GPUs are not warmed

	looks  bool // LMCache can be asked who holds a prompt
	lead   atomic.Int64
	totals *stagings
}

// newStager returns what stages for a policy, nil when nothing does.
func newStager(p *Policy) *stager {
	if p.LMCache == nil {
		return nil
	}
	s := &stager{options: p.LMCache, weights: defaultWeights, prompts: p.shared.prompts, turns: newTurns(time.Now), totals: p.shared.stagings}
	if p.Events != nil {
		s.weights = p.Events.weights()
	}
	s.service = lmcache.NewService(lmcache.Options{Client: p.LMCache.client(), AnswerFor: lookupFor, AskAfter: lookupAfter})
	s.looks = s.service.CanLookup()
	s.lead.Store(int64(startLead))
	if p.LMCache.WarmGPU {
		s.warmer = newWarmer(time.Now)
	}
	return s
}

// client returns the way to LMCache that is configured.
func (l *LMCache) client() lmcache.Client {
	if l.Coordinator != "" {
		base, _ := url.Parse(l.Coordinator) // checked before
		return lmcache.NewCoordinator(lmcache.CoordinatorOptions{Base: base})
	}
	return lmcache.NewNode(lmcache.NodeOptions{Base: func(upstream string) *url.URL {
		return endpoint.Template(l.Address).For(upstream, "http")
	}})
}

// close ends all staging, and waits for what is under way.
func (s *stager) close() {
	s.turns.close()
	if s.warmer != nil {
		s.warmer.close()
	}
	s.service.Close()
}

// learnLead takes in how long it took to have a prompt's tokens.
func (s *stager) learnLead(took time.Duration) {
	old := s.lead.Load()
	s.lead.Store(old + int64(leadShare*float64(int64(took)-old)))
}

// prefixKey names a prompt's beginning up to the end of a message for LMCache,
// which keeps apart what was made under different salts.
func prefixKey(end, variant uint64, salt string) uint64 {
	return end ^ variant ^ xxhash.Sum64String(salt)
}

// offload returns what LMCache is known to hold of a prompt beside an upstream:
// what it said about the whole of it, or an earlier turn.
func (s *stager) offload(prompt *text, address string) (o routing.Offload, known bool) {
	ends := prompt.signature.Ends()
	for i := len(ends) - 1; i >= 0; i-- {
		key := prefixKey(ends[i].Hash, prompt.signature.Variant(), prompt.salt)
		if h, fresh := s.service.Known(key, address); fresh {
			return routing.Offload{CPU: h.Memory, Storage: h.Storage}, true
		}
	}
	return routing.Offload{}, false
}

// consult notes at targets what LMCache is known to hold of a prompt beside
// them, in room, and reports whether anything is known. A nil stager knows
// nothing.
func (s *stager) consult(prompt *text, targets []routing.Candidate, room []routing.Offload) (_ []routing.Offload, known bool) {
	if s == nil || !s.looks {
		return room[:0], false
	}
	room = slices.Grow(room[:0], len(targets))
	for i := range targets {
		if o, told := s.offload(prompt, targets[i].Address); told {
			known = true
			room = append(room, o)
			targets[i].Offload = &room[len(room)-1]
		}
	}
	return room, known
}
