// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"math/rand/v2"
	"sync"
)

// Node is what a policy reads in a real engine's metrics.
type Node interface {
	Waiting() int   // requests whose prefill has not begun
	Usage() float64 // share of its KV cache that running requests hold, 0 to 1
}

// Live lets one of the rivals decide in front of real engines what it decides
// in a replay in front of simulated ones. Of the engines' caches it is told
// what they would tell by events: at once, as if they had no delay, when a
// prompt is sent. It is safe for concurrent use.
type Picker struct {
	mu         sync.Mutex
	simulation simulation
	caches     []*cache
}

var errNotPickable = errors.New("not a policy to route real requests by: it is this gateway's own, or a bound")

// NewLive returns a policy by its name in front of some nodes that hold that
// many tokens each. blockTokens is the size of the blocks of the requests'
// chains. It fails for kv_aware, which real requests have in the gateway, and
// for the bounds.
func NewPicker(policy string, nodes []Node, blockTokens, kvTokens int, seed uint64) (*Picker, error) {
	k, err := specOf(policy)
	switch {
	case err != nil:
		return nil, err
	case k.bound || k.name == "kv_aware":
		return nil, errNotPickable
	case len(nodes) == 0 || len(nodes) > maxNodes:
		return nil, errNodes
	case blockTokens < 1 || blockTokens > maxBlockSize:
		return nil, errBlockSize
	case kvTokens < 1 || kvTokens > maxKVTokens:
		return nil, errKV
	}
	l := &Picker{simulation: simulation{blockTokens: blockTokens, inFlight: make([]int, len(nodes)), rnd: rand.New(rand.NewPCG(seed, 1))}}
	for _, n := range nodes {
		c := newCache(kvTokens / blockTokens)
		l.caches = append(l.caches, c)
		l.simulation.nodes = append(l.simulation.nodes, cachedNode{n, c})
	}
	l.simulation.policy = k.make(&l.simulation)
	return l, nil
}

// liveNode is a real engine, with what its cache holds.
type cachedNode struct {
	Node
	cache *cache
}

func (n cachedNode) held(chain []uint64) int { return n.cache.match(chain) }
func (n cachedNode) usage() float64          { return n.Usage() }
func (n cachedNode) queued() int             { return n.Waiting() }

// Pick decides where a request goes. Its Ticket is to be told what becomes of
// it there.
func (l *Picker) Pick(r *Request) *Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &Attempt{picker: l, job: job{Request: r}}
	t.job.node = l.simulation.policy.pick(&t.job, 0)
	l.simulation.inFlight[t.job.node]++
	t.job.pinned, _ = l.caches[t.job.node].acquire(nil, r.Chain, true)
	return t
}

// Ticket is one request on its way. Its methods may be called in any order,
// and more than once.
type Attempt struct {
	picker       *Picker
	job          job
	begun, ended bool
}

// Node is where the request goes.
func (t *Attempt) Node() int { return t.job.node }

// First notes that the first token of the answer is there.
func (t *Attempt) FirstToken() {
	t.picker.mu.Lock()
	defer t.picker.mu.Unlock()
	t.noteFirstToken()
}

// Done notes that the answer has ended, or that there will be none.
func (t *Attempt) Done() {
	t.picker.mu.Lock()
	defer t.picker.mu.Unlock()
	if t.ended {
		return
	}
	t.noteFirstToken() // what waits for it waits no longer
	t.ended = true
	w := &t.picker.simulation
	w.inFlight[t.job.node]--
	w.policy.done(&t.job, 0)
	t.picker.caches[t.job.node].release(t.job.pinned)
}

func (t *Attempt) noteFirstToken() {
	if !t.begun {
		t.begun = true
		t.picker.simulation.policy.first(&t.job, 0)
	}
}

// Interface guards
var (
	_ node = (*engine)(nil)
	_ node = cachedNode{}
)
