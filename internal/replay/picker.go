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
	p := &Picker{simulation: simulation{blockTokens: blockTokens, inFlight: make([]int, len(nodes)), rnd: rand.New(rand.NewPCG(seed, 1))}}
	for _, n := range nodes {
		c := newCache(kvTokens / blockTokens)
		p.caches = append(p.caches, c)
		p.simulation.nodes = append(p.simulation.nodes, cachedNode{n, c})
	}
	p.simulation.policy = k.make(&p.simulation)
	return p, nil
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
func (p *Picker) Pick(r *Request) *Attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &Attempt{picker: p, job: job{Request: r}}
	a.job.node = p.simulation.policy.pick(&a.job, 0)
	p.simulation.inFlight[a.job.node]++
	a.job.pinned, _ = p.caches[a.job.node].acquire(nil, r.Chain, true)
	return a
}

// Attempt is one request sent to one node. Its methods may be called in any
// order and more than once.
type Attempt struct {
	picker       *Picker
	job          job
	begun, ended bool
}

// Node returns the index of the node that gets the request.
func (a *Attempt) Node() int { return a.job.node }

// FirstToken notes that the answer's first token has arrived.
func (a *Attempt) FirstToken() {
	a.picker.mu.Lock()
	defer a.picker.mu.Unlock()
	a.noteFirstToken()
}

// Done notes that the answer has ended, or that none will come.
func (a *Attempt) Done() {
	a.picker.mu.Lock()
	defer a.picker.mu.Unlock()
	if a.ended {
		return
	}
	a.noteFirstToken() // ends the prefill in the policy's books
	a.ended = true
	w := &a.picker.simulation
	w.inFlight[a.job.node]--
	w.policy.done(&a.job, 0)
	a.picker.caches[a.job.node].release(a.job.pinned)
}

func (a *Attempt) noteFirstToken() {
	if !a.begun {
		a.begun = true
		a.picker.simulation.policy.first(&a.job, 0)
	}
}

// Interface guards
var (
	_ node = (*engine)(nil)
	_ node = cachedNode{}
)
