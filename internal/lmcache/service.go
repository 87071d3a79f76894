// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the parts and limits of a Service. Zero values mean the defaults.
type Options struct {
	Client Client
	Now    func() time.Time // nil: time.Now
	Random func() float64   // from 0 to 1, for jitter; nil: rand.Float64

	// Rate bounds the stagings of one node in a second, Burst those at once after a
	// pause. Defaults: 20 and 40.
	Rate, Burst float64
	// MaxPerNode bounds the stagings that one node works on. It is small because they
	// share the node's disk, and the earliest requests need theirs first. Default: 2.
	MaxPerNode int
	// MaxSending bounds the prompts that are being sent at the same time, to all
	// nodes. Default: 16.
	MaxSending int
	// MaxQueued bounds the stagings that wait for a slot of their node,
	// MaxQueuedTokens the tokens of all of them, and QueueTimeout the wait of each:
	// after that the engine has most likely scheduled the request. Defaults: 256, 4 Mi
	// tokens (16 MiB) and 2 s.
	MaxQueued, MaxQueuedTokens int
	QueueTimeout               time.Duration
	// SubmitTimeout bounds the sending of an order with its tokens, until LMCache
	// accepts it. Default: 2 s. StageTimeout bounds the staging after that. Default:
	// 10 s.
	SubmitTimeout, StageTimeout time.Duration
	// RestageAfter is the time after its end in which a staging is not ordered again.
	// It is short because LMCache can evict staged blocks at any time. Default: 5 s.
	RestageAfter time.Duration
	// WastedAfter is the time after its end in which a staging can be used. An unused
	// one is counted as wasted. Default: 2 min.
	WastedAfter time.Duration
	// LookupTTL is the time for which the answer to a lookup counts. Default: 5 s.
	LookupTTL time.Duration
	// LookupDelay is the wait before a lookup: LMCache's coordinator learns of new
	// blocks only after a while. Default: 0.
	LookupDelay time.Duration
	// MaxLookupTokens bounds the tokens of all lookups that wait. Default: 2 Mi (8
	// MiB).
	MaxLookupTokens int
}

const (
	// maxNodeAccounts bounds the nodes that have an account.
	maxNodeAccounts = 1024
	// maxEnded bounds the ended stagings that are remembered.
	maxEnded = 4096
	// nodeIdle is the time without a call after which a node is forgotten.
	nodeIdle = 30 * time.Minute
	// layoutPause is the time in which a node is not asked again for a model without a
	// KV layout there. The model gets one when its engine has started.
	layoutPause = 10 * time.Second
	// maxModels bounds the models of a node without a layout that are remembered.
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

// Service stages and looks up through a Client, in the background. It is safe for
// concurrent use. Only Close waits for LMCache.
type Service struct {
	options   Options
	ctx       context.Context
	stop      context.CancelFunc
	sendSlots chan struct{} // one element for each prompt that is being sent
	running   sync.WaitGroup
	counters  counters
	chunks    chunkSizes

	mu           sync.Mutex
	closed       bool
	nodes        map[string]*node        // by upstream
	stagings     map[stagingKey]*Staging // under way, or ended lately
	ended        []*Staging              // oldest first
	queued       int
	queuedTokens int
	lookups      lookups
}

// node is the account of one upstream's LMCache.
type node struct {
	breaker         breaker
	bucket          bucket
	slots           chan struct{}        // one element for each staging it works on
	noLayoutUntil   map[string]time.Time // by model
	active          int                  // stagings under way
	lastUsed        time.Time
	secondsPerToken movingAverage // of its stagings
	counts          NodeCounts
}

// NodeCounts counts the stagings of one node.
type NodeCounts struct {
	Orders  uint64 // begun
	Done    uint64 // of those, the ones that LMCache reports as done
	Tokens  uint64 // in its CPU memory by them, as LMCache reports
	Last    Result // of the staging that ended last
	Resting bool   // the node has failed lately and is left alone
}

// NodeCounts returns the counts of an upstream's node. known is false if the node was
// not asked for anything lately.
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

// NewService returns a Service. It does nothing before it is used.
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

// Stage has the KV blocks of a prefix brought up to the CPU memory of an upstream's
// node, and returns at once. The staging is never nil; one that was not begun has
// ended already. release is called exactly once, when p.Tokens are not read any
// more, which can be before Stage returns.
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

// begin returns the staging of a prefix. begun says that it is a new one, to be run.
func (s *Service) begin(upstream string, p *Prefix) (st *Staging, begun bool) {
	now := s.options.Now()
	key := stagingKey{upstream, p.Key}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	if st := s.current(key, now); st != nil {
		return st, false
	}
	n, result := s.admit(upstream, p, now)
	if result != Submitted {
		s.counters.add(result)
		return endedStaging(s, result), false
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

// Current returns the staging of a prefix, by its key, that is under way on an
// upstream's node or just done, so that another one is not needed; nil when there is
// none. It is counted as deduplicated.
func (s *Service) Current(upstream string, key uint64) *Staging {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current(stagingKey{upstream, key}, s.options.Now())
}

// current is Current. The caller holds mu.
func (s *Service) current(key stagingKey, now time.Time) *Staging {
	st := s.stagings[key]
	if st == nil || !st.isCurrent(now, s.options.RestageAfter) {
		return nil
	}
	s.counters.add(Deduplicated)
	return st
}

// admit decides whether a node may be asked now. Submitted: yes.
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

// forgetNodes drops the accounts of idle nodes, and reports whether there were any.
func (s *Service) forgetNodes(now time.Time) bool {
	before := len(s.nodes)
	for upstream, n := range s.nodes {
		if n.active == 0 && now.Sub(n.lastUsed) > nodeIdle {
			delete(s.nodes, upstream)
		}
	}
	return len(s.nodes) < before
}

// ExpectedTime returns the time that a node takes to stage a number of tokens, by its
// last stagings; 0: not known.
func (s *Service) ExpectedTime(upstream string, tokens int) time.Duration {
	s.mu.Lock()
	n := s.nodes[upstream]
	s.mu.Unlock()
	if n == nil {
		return 0
	}
	return Gain(tokens, n.secondsPerToken.load())
}

// sweep forgets stagings that have ended long ago, and the oldest when there are too
// many. It counts those that no request has used.
func (s *Service) sweep(now time.Time) {
	n := 0
	for n < len(s.ended) && (len(s.ended)-n > maxEnded || now.Sub(s.ended[n].endedAt) >= s.options.WastedAfter) {
		st := s.ended[n]
		s.ended[n] = nil
		n++
		if s.stagings[st.key] == st {
			delete(s.stagings, st.key)
		}
		s.countWasted(st)
	}
	s.ended = s.ended[n:]
}

// Close ends all calls under way and waits for them. Stage and StartLookup do nothing
// after that.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	s.options.Client.Close()
}

// counters are the Counts, as they grow.
type counters struct {
	results, lookups [numResults]atomic.Uint64
	tokens, wasted   atomic.Uint64
}

func (c *counters) add(r Result) { c.results[r].Add(1) }

// Counts are totals since the start, for metrics.
type Counts struct {
	Results [numResults]uint64 // of stagings, by Result
	Lookups [numResults]uint64 // by Result
	Tokens  uint64             // staged, as LMCache reports
	Wasted  uint64             // stagings that no request has used
}

// Counts returns the totals.
func (s *Service) Counts() (c Counts) {
	s.mu.Lock()
	s.sweep(s.options.Now())
	s.mu.Unlock()
	for i := range numResults {
		c.Results[i], c.Lookups[i] = s.counters.results[i].Load(), s.counters.lookups[i].Load()
	}
	c.Tokens, c.Wasted = s.counters.tokens.Load(), s.counters.wasted.Load()
	return c
}
