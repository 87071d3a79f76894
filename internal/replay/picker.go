// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"math/rand/v2"
	"sync"
)

// Node gives a policy the metrics of a real engine.
type Node interface {
	Waiting() int   // requests whose prefill has not started
	Usage() float64 // share of its KV cache that running requests hold, 0 to 1
}

// Picker routes requests to real engines by one of the rival policies. It keeps
// a model of each engine's cache, as KV events without delay would give it: a
// prompt's blocks are there as soon as it is sent. It is safe for concurrent use.
type Picker struct {
	mu         sync.Mutex
	simulation simulation
	caches     []*cache
}

var errNotPickable = errors.New("this policy cannot route real requests: it is this gateway's own, or a bound")

// NewPicker returns a picker with the named policy for nodes that hold kvTokens
// tokens each. blockTokens is the size of the blocks of the requests' chains. It
// fails for kv_aware, which the gateway itself runs, and for the bounds.
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

// cachedNode is a real engine with a model of its cache.
type cachedNode struct {
	Node
	cache *cache
}

func (n cachedNode) held(chain []uint64) int { return n.cache.match(chain) }
func (n cachedNode) usage() float64          { return n.Usage() }
func (n cachedNode) queued() int             { return n.Waiting() }

// Pick chooses a node for a request. The caller reports the progress of the
// request to the Attempt.
func (l *Picker) Pick(r *Request) *Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &Attempt{picker: l, job: job{Request: r}}
	t.job.node = l.simulation.policy.pick(&t.job, 0)
	l.simulation.inFlight[t.job.node]++
	t.job.pinned, _ = l.caches[t.job.node].acquire(nil, r.Chain, true)
	return t
}

// Attempt is one request sent to one node. Its methods may be called in any
// order and more than once.
type Attempt struct {
	picker       *Picker
	job          job
	begun, ended bool
}

// Node returns the index of the node that gets the request.
func (t *Attempt) Node() int { return t.job.node }

// FirstToken notes that the answer's first token has arrived.
func (t *Attempt) FirstToken() {
	t.picker.mu.Lock()
	defer t.picker.mu.Unlock()
	t.noteFirstToken()
}

// Done notes that the answer has ended, or that none will come.
func (t *Attempt) Done() {
	t.picker.mu.Lock()
	defer t.picker.mu.Unlock()
	if t.ended {
		return
	}
	t.noteFirstToken() // ends the prefill in the policy's books
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
