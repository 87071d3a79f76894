// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Service needs. Zero values mean the defaults.
type Options struct {
	Client Client
	Now    func() time.Time // nil: time.Now
	Random func() float64   // from 0 to 1, for jitter; nil: rand.Float64

	// Rate is how many stagings a second one node is asked for, Burst how many
	// at once after a pause. Defaults: 20 and 40.
	Rate, Burst float64
	// AtOnce is how many stagings one node works on. Few: they share its disk,
	// and those of the requests that come first should be done first. Default:
	// 2.
	MaxPerNode int
	// Sending is how many prompts are being sent at the same time, to all
	// nodes. Default: 16.
	MaxSending int
	// Queue is how many stagings may wait for their turn, QueueTokens how many
	// tokens those may have together, QueueFor how long one waits: after that
	// the engine has most likely scheduled the request. Defaults: 256, 4 Mi
	// tokens (16 MiB) and 2 s.
	MaxQueued, MaxQueuedTokens int
	QueueTimeout               time.Duration
	// SubmitFor is how long LMCache may take to accept an order, with all of
	// its tokens sent. Default: 2 s. Done is how long the staging may take
	// after that. Default: 10 s.
	SubmitTimeout, StageTimeout time.Duration
	// Again is for how long a staging that is done is not asked for again. What
	// was staged can be evicted at any time, so this is short. Default: 5 s.
	RestageAfter time.Duration
	// Keep is how long after its end a staging may be used; one that was not
	// is counted as wasted. Default: 2 min.
	WastedAfter time.Duration
	// AnswerFor is for how long the answer to a lookup is believed. Default:
	// 5 s.
	LookupTTL time.Duration
	// AskAfter is how long a lookup waits before it is made: whoever is asked
	// knows of what was just computed only some time later. Default: not at all.
	LookupDelay time.Duration
	// AskTokens is how many tokens the lookups that wait may have together.
	// Default: 2 Mi (8 MiB).
	MaxLookupTokens int
}

const (
	// maxStates is how many nodes are kept account of.
	maxNodeAccounts = 1024
	// maxEnded is how many stagings that have ended are remembered.
	maxEnded = 4096
	// idleState is after which time without a call a node is forgotten.
	nodeIdle = 30 * time.Minute
	// layoutPause is for how long a node is not asked again for a model that
	// has no KV layout there: it gets one when its engine has started.
	layoutPause = 10 * time.Second
	// maxModels bounds for how many models of a node that is remembered.
	maxModels = 64
)

func (o *Options) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	setDefault(&o.Rate, 20)
	setDefault(&o.Burst, 40)
	setDefault(&o.MaxPerNode, 2)
	setDefault(&o.MaxSending, 16)
	setDefault(&o.MaxQueued, 256)
	setDefault(&o.MaxQueuedTokens, 4<<20)
	setDefault(&o.QueueTimeout, 2*time.Second)
	setDefault(&o.SubmitTimeout, 2*time.Second)
	setDefault(&o.StageTimeout, 10*time.Second)
	setDefault(&o.RestageAfter, 5*time.Second)
	setDefault(&o.WastedAfter, 2*time.Minute)
	setDefault(&o.LookupTTL, 5*time.Second)
	setDefault(&o.MaxLookupTokens, 2<<20)
}

func setDefault[T int | float64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Service stages and looks up through a Client, in the background. It is safe
// for concurrent use; no method waits for LMCache but Close, and Staging.Wait
// for as long as it is told.
type Service struct {
	options   Options
	ctx       context.Context
	stop      context.CancelFunc
	sendSlots chan struct{} // one for each prompt that is being sent
	running   sync.WaitGroup
	counters  counters

	mu           sync.Mutex
	closed       bool
	nodes        map[string]*node
	stagings     map[stagingKey]*Staging // under way, or lately ended
	ended        []*Staging              // oldest first
	queued       int
	queuedTokens int
	lookups      lookups
}

// node is the account of one upstream's LMCache.
type node struct {
	breaker         breaker
	bucket          bucket
	slots           chan struct{}        // one for each staging it works on
	noLayoutUntil   map[string]time.Time // models without a KV layout: until when
	active          int                  // stagings under way
	lastUsed        time.Time            // when it was last wanted
	secondsPerToken movingAverage        // seconds for a token, 0: not known
	counts          NodeCounts
}

// NodeCounts is what became of the stagings that one node was asked for.
type NodeCounts struct {
	Orders  uint64 // begun
	Done    uint64 // of those, the ones that LMCache says are done
	Tokens  uint64 // in its CPU memory for them, by what it says
	Last    Result // of the one that ended last
	Resting bool   // it has failed lately and is left alone
}

// Node returns the counts of an upstream's node, if it was ever wanted lately.
func (s *Service) NodeCounts(upstream string) (c NodeCounts, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[upstream]
	if n == nil {
		return c, false
	}
	c = n.counts
	c.Resting = !n.breaker.closed(s.options.Now())
	return c, true
}

type stagingKey struct {
	upstream string
	prefix   uint64
}

// NewService returns a Service. Nothing runs before it is used.
func NewService(o Options) *Service {
	o.setDefaults()
	s := &Service{
		options:   o,
		sendSlots: make(chan struct{}, o.MaxSending),
		nodes:     make(map[string]*node),
		stagings:  make(map[stagingKey]*Staging),
		lookups:   newLookups(),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// CanLookup reports whether Ask is possible.
func (s *Service) CanLookup() bool { return s.options.Client.CanLookup() }

// Stage asks for the KV blocks of a prefix to be brought up to the CPU memory
// of an upstream's node, and returns at once. The staging is never nil; one
// that is not begun has ended already. release is called exactly once, as soon
// as p.Tokens are not read any more, which can be before Stage returns.
func (s *Service) Stage(upstream string, p Prefix, release func()) *Staging {
	st, begun := s.begin(upstream, &p)
	if !begun {
		release()
		return st
	}
	go func() {
		defer s.running.Done()
		s.run(st, &p, release)
	}()
	return st
}

// begin returns the staging of a prefix, and whether it is a new one that is
// to be run.
func (s *Service) begin(upstream string, p *Prefix) (st *Staging, begun bool) {
	now := s.options.Now()
	key := stagingKey{upstream, p.Key}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	if st := s.stagings[key]; st != nil && st.isCurrent(now, s.options.RestageAfter) {
		s.counters.add(Deduplicated)
		return st, false
	}
	n, end := s.admit(upstream, p, now)
	if end != Submitted {
		s.counters.add(end)
		return endedStaging(s, end), false
	}
	n.active++
	n.counts.Orders++
	s.running.Add(1) // under the lock: Close waits for it once it has set closed
	st = &Staging{service: s, node: n, key: key, probe: n.breaker.enter(), done: make(chan struct{})}
	s.stagings[key] = st
	s.queued++
	s.queuedTokens += len(p.Tokens)
	return st, true
}

// Standing returns the staging of a prefix by its key that is under way on an
// upstream's node, or just done, so that there is no need for another one; nil
// when there is none. It counts as one that was given to somebody else.
func (s *Service) Current(upstream string, key uint64) *Staging {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.stagings[stagingKey{upstream, key}]; st != nil && st.isCurrent(s.options.Now(), s.options.RestageAfter) {
		s.counters.add(Deduplicated)
		return st
	}
	return nil
}

// admit decides whether a node is asked now; Submitted: yes.
func (s *Service) admit(upstream string, p *Prefix, now time.Time) (*node, Result) {
	switch {
	case len(p.Tokens) == 0:
		return nil, Noop
	case p.late(now):
		return nil, Late
	}
	n := s.node(upstream, now)
	switch {
	case s.closed || n == nil || s.queued >= s.options.MaxQueued || s.queuedTokens+len(p.Tokens) > s.options.MaxQueuedTokens:
		return nil, Limited
	case now.Before(n.noLayoutUntil[p.Model]):
		return nil, NoLayout
	case !n.breaker.closed(now):
		return nil, Broken
	case !n.bucket.take(now, s.options.Rate, s.options.Burst):
		return nil, Limited
	}
	return n, Submitted
}

// node returns the account of an upstream, nil when there are too many.
func (s *Service) node(upstream string, now time.Time) *node {
	n := s.nodes[upstream]
	if n == nil {
		if len(s.nodes) >= maxNodeAccounts && !s.forgetNodes(now) {
			return nil
		}
		n = &node{slots: make(chan struct{}, s.options.MaxPerNode)}
		s.nodes[upstream] = n
	}
	n.lastUsed = now
	return n
}

// forgetNodes drops the accounts of nodes that nobody has wanted for long, and
// reports whether there were any.
func (s *Service) forgetNodes(now time.Time) bool {
	before := len(s.nodes)
	for upstream, n := range s.nodes {
		if n.active == 0 && now.Sub(n.lastUsed) > nodeIdle {
			delete(s.nodes, upstream)
		}
	}
	return len(s.nodes) < before
}

// Expected returns how long a staging of so many tokens takes on a node, by
// what the last ones took; 0: not known.
func (s *Service) ExpectedTime(upstream string, tokens int) time.Duration {
	s.mu.Lock()
	n := s.nodes[upstream]
	s.mu.Unlock()
	if n == nil {
		return 0
	}
	return Gain(tokens, n.secondsPerToken.load())
}

// sweep forgets stagings that have ended long ago, or too many of them, and
// counts those that nobody has used.
func (s *Service) sweep(now time.Time) {
	n := 0
	for n < len(s.ended) && (len(s.ended)-n > maxEnded || now.Sub(s.ended[n].endedAt) >= s.options.WastedAfter) {
		st := s.ended[n]
		s.ended[n] = nil
		n++
		if s.stagings[st.key] == st {
			delete(s.stagings, st.key)
		}
		s.waste(st)
	}
	s.ended = s.ended[n:]
}

// Close ends what is under way and waits for it. Stage and Ask do nothing any
// more.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	s.options.Client.Close()
}

// tally counts what happened.
type counters struct {
	results, lookups                [numResults]atomic.Uint64
	tokens                          atomic.Uint64
	wasted, wastedTokens            atomic.Uint64
	waits, waitsInTime, waitedNanos atomic.Uint64
}

func (t *counters) add(r Result) { t.results[r].Add(1) }

// Counts are totals since the start, for metrics.
type Counts struct {
	Results      [numResults]uint64 // of stagings, by Result
	Lookups      [numResults]uint64 // of Ask, by Result
	Tokens       uint64             // staged, by what LMCache says
	Wasted       uint64             // stagings that no request has used
	WastedTokens uint64
	Waits        uint64 // requests held for their staging
	WaitsInTime  uint64 // of which the staging ended meanwhile
	Waited       time.Duration
	Running      int // stagings under way or waiting for their turn
}

// Counts returns the totals.
func (s *Service) Counts() (c Counts) {
	s.mu.Lock()
	s.sweep(s.options.Now())
	for _, n := range s.nodes {
		c.Running += n.active
	}
	s.mu.Unlock()
	t := &s.counters
	for i := range numResults {
		c.Results[i], c.Lookups[i] = t.results[i].Load(), t.lookups[i].Load()
	}
	c.Tokens, c.Wasted, c.WastedTokens = t.tokens.Load(), t.wasted.Load(), t.wastedTokens.Load()
	c.Waits, c.WaitsInTime, c.Waited = t.waits.Load(), t.waitsInTime.Load(), time.Duration(t.waitedNanos.Load())
	return c
}
