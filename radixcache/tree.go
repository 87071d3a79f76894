// SPDX-License-Identifier: Apache-2.0

// Package radixcache remembers which upstream holds which prompt prefix in
// its KV cache. It is a path-compressed radix tree over chains of block
// hashes, under a ceiling in bytes; at the ceiling the oldest claims go first.
//
// A chain element commits to everything before it (a chained hash), so two
// chains that are equal at position i are equal up to i.
package radixcache

import (
	"container/list"
	"sync"
	"time"
)

// Upstream is the id of a registered upstream. It is valid from Register to
// Remove; 0 is never valid. Calls with an invalid id do nothing.
type Upstream uint32

// Match says how many blocks of a chain, counted from its start, an upstream
// holds without a hole.
type Match struct {
	Upstream Upstream
	Blocks   int32
}

// Stats describes a tree at one moment.
type Stats struct {
	// Bytes is what the tree allocated, Limit its ceiling.
	Bytes, Limit int64
	// Blocks counts distinct blocks, Runs the compressed pieces they live in.
	Blocks, Runs int
	// Upstreams counts the registered ones.
	Upstreams int
	// Evictions counts claims (one run of one upstream) dropped at the ceiling.
	Evictions uint64
	// Oldest is how long ago the oldest claim was made or confirmed.
	Oldest time.Duration
}

// Estimated sizes in bytes of what Go allocates for each part.
const (
	nodeBytes  = 224
	claimBytes = 176
	blockBytes = 8
	nameBytes  = 128
)

// Tree is safe for concurrent use by any number of goroutines.
type Tree struct {
	mu        sync.RWMutex
	now       func() time.Time
	limit     int64
	bytes     int64
	root      *node
	blocks    int
	runs      int
	evictions uint64
	ages      *list.List // of *claim, oldest in front
	ids       map[string]Upstream
	ups       map[Upstream]*upstream
	next      Upstream
}

type upstream struct {
	name   string
	tokens int64
	ages   *list.List // of *claim, oldest in front
}

type node struct {
	parent   *node
	hashes   []uint64
	children map[uint64]*node
	claims   map[Upstream]*claim
}

// claim says that an upstream holds the first n blocks of a node.
type claim struct {
	node    *node
	up      Upstream
	n       int
	weight  uint32
	at      time.Time
	all, by *list.Element
}

// New returns an empty tree that will not allocate more than limit bytes.
func New(limit int64) *Tree {
	return &Tree{
		now:   time.Now,
		limit: limit,
		root:  &node{children: map[uint64]*node{}},
		ages:  list.New(),
		ids:   map[string]Upstream{},
		ups:   map[Upstream]*upstream{},
	}
}

// SetLimit changes the ceiling; what no longer fits is evicted at once.
func (t *Tree) SetLimit(limit int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = limit
	t.evict()
}

// Limit returns the ceiling in bytes.
func (t *Tree) Limit() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.limit
}

// Register returns the id of an upstream, a new one when the name is unknown.
func (t *Tree) Register(name string) Upstream {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.ids[name]; ok {
		return id
	}
	t.next++
	t.ids[name] = t.next
	t.ups[t.next] = &upstream{name: name, ages: list.New()}
	t.bytes += nameBytes + int64(len(name))
	t.evict()
	return t.next
}

// Forget drops everything an upstream was known to hold; its id stays.
func (t *Tree) Forget(up Upstream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.ups[up]; u != nil {
		t.forget(u)
	}
}

func (t *Tree) forget(u *upstream) {
	for e := u.ages.Front(); e != nil; e = u.ages.Front() {
		t.drop(e.Value.(*claim))
	}
}

// Remove drops everything an upstream was known to hold, and its id.
func (t *Tree) Remove(up Upstream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.ups[up]
	if u == nil {
		return
	}
	t.forget(u)
	delete(t.ups, up)
	delete(t.ids, u.name)
	t.bytes -= nameBytes + int64(len(u.name))
}

// Insert records that up holds the whole chain, from the root; weight is the
// number of tokens in a block. It returns how many blocks of it up was already
// known to hold.
func (t *Tree) Insert(up Upstream, chain []uint64, weight uint32) (held int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.ups[up]
	if u == nil || len(chain) == 0 {
		return 0
	}
	for pos, n := 0, t.root; pos < len(chain); {
		n = t.descend(n, chain[pos:])
		k := common(n.hashes, chain[pos:])
		held += t.hold(u, up, n, k, weight)
		pos += k
	}
	t.confirm(u, up, chain)
	t.evict()
	return held
}

// descend returns the child of n that starts like chain, splitting or adding
// one so that the child is a prefix of chain or chain ends in it.
func (t *Tree) descend(n *node, chain []uint64) *node {
	c := n.children[chain[0]]
	if c == nil {
		c = &node{parent: n, hashes: append([]uint64(nil), chain...), children: map[uint64]*node{}, claims: map[Upstream]*claim{}}
		n.children[chain[0]] = c
		t.count(1, len(chain))
		return c
	}
	k := common(c.hashes, chain)
	if k == len(chain) || k == len(c.hashes) && (len(c.children) > 0 || len(c.claims) == 0) {
		return c
	}
	if k == len(c.hashes) { // a leaf: it just grows
		t.blocks += len(chain) - k
		t.bytes += int64(len(chain)-k) * blockBytes
		c.hashes = append(c.hashes, chain[k:]...)
		return c
	}
	return t.split(c, k)
}

// split cuts c after k blocks and returns the new upper part.
func (t *Tree) split(c *node, k int) *node {
	p := &node{parent: c.parent, hashes: append([]uint64(nil), c.hashes[:k]...), children: map[uint64]*node{c.hashes[k]: c}, claims: map[Upstream]*claim{}}
	c.parent.children[c.hashes[0]] = p
	c.hashes = append([]uint64(nil), c.hashes[k:]...)
	c.parent = p
	t.count(1, 0)
	for up, cl := range c.claims {
		u := t.ups[up]
		if cl.n <= k { // all of it lies in the upper part
			delete(c.claims, up)
			cl.node = p
			p.claims[up] = cl
			continue
		}
		pc := &claim{node: p, up: up, n: k, weight: cl.weight, at: cl.at}
		pc.all = t.ages.InsertAfter(pc, cl.all)
		pc.by = u.ages.InsertAfter(pc, cl.by)
		p.claims[up] = pc
		t.bytes += claimBytes
		cl.n -= k
	}
	return p
}

// hold makes sure that up claims k blocks of n and returns how many it did.
func (t *Tree) hold(u *upstream, up Upstream, n *node, k int, weight uint32) int {
	c := n.claims[up]
	if c == nil {
		c = &claim{node: n, up: up}
		c.all, c.by = t.ages.PushBack(c), u.ages.PushBack(c)
		n.claims[up] = c
		t.bytes += claimBytes
	}
	was := c.n
	u.tokens -= int64(c.n) * int64(c.weight)
	c.n, c.weight, c.at = max(c.n, k), weight, t.now()
	u.tokens += int64(c.n) * int64(c.weight)
	return min(was, k)
}

// confirm makes up's claims on the chain the youngest, parents youngest of all.
func (t *Tree) confirm(u *upstream, up Upstream, chain []uint64) {
	n := t.root
	for pos := 0; pos < len(chain); pos += len(n.hashes) {
		n = n.children[chain[pos]]
	}
	for ; n != t.root; n = n.parent {
		c := n.claims[up]
		t.ages.MoveToBack(c.all)
		u.ages.MoveToBack(c.by)
	}
}

// Cut records that up no longer holds chain[keep:] nor anything behind it.
func (t *Tree) Cut(up Upstream, chain []uint64, keep int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keep = max(keep, 0)
	if t.ups[up] == nil || keep >= len(chain) {
		return
	}
	n := t.root
	for pos := 0; pos <= keep; pos += len(n.hashes) {
		if n = n.children[chain[pos]]; n == nil {
			return
		}
		k := common(n.hashes, chain[pos:])
		if pos+k > keep {
			t.cut(n, up, keep-pos)
			return
		}
		if k < len(n.hashes) {
			return
		}
	}
}

func (t *Tree) cut(n *node, up Upstream, keep int) {
	c := n.claims[up]
	if c == nil {
		return
	}
	for _, child := range n.children {
		t.cut(child, up, 0)
	}
	if keep == 0 {
		t.drop(c)
	} else if c.n > keep {
		t.ups[up].tokens -= int64(c.n-keep) * int64(c.weight)
		c.n = keep
		t.shrink(n)
	}
}

// Lookup appends to dst one match for each upstream that holds at least one
// block of the chain from its start, in no particular order.
func (t *Tree) Lookup(chain []uint64, dst []Match) []Match {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, last := t.root, t.root
	pos, k := 0, 0
	for pos < len(chain) {
		if n = n.children[chain[pos]]; n == nil {
			break
		}
		last = n
		k = common(n.hashes, chain[pos:])
		pos += k
		if k < len(n.hashes) {
			break
		}
	}
	for n := last; n != t.root; n = n.parent {
		pos -= k
		for up, c := range n.claims {
			if !claimedBelow(n, last, up) {
				dst = append(dst, Match{up, int32(pos + min(c.n, k))})
			}
		}
		if n.parent != t.root {
			k = len(n.parent.hashes)
		}
	}
	return dst
}

func claimedBelow(n, last *node, up Upstream) bool {
	for ; last != n; last = last.parent {
		if last.claims[up] != nil {
			return true
		}
	}
	return false
}

// Trim forgets the oldest claims of an upstream until what is left weighs at
// most the given number of tokens.
func (t *Tree) Trim(up Upstream, tokens int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.ups[up]
	for u != nil && u.tokens > max(tokens, 0) {
		t.drop(u.ages.Front().Value.(*claim))
	}
}

// Stats returns the tree's figures of this moment.
func (t *Tree) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := Stats{Bytes: t.bytes, Limit: t.limit, Blocks: t.blocks, Runs: t.runs, Upstreams: len(t.ups), Evictions: t.evictions}
	if e := t.ages.Front(); e != nil {
		s.Oldest = t.now().Sub(e.Value.(*claim).at)
	}
	return s
}

// evict drops the oldest claims until the tree is under its limit.
func (t *Tree) evict() {
	for t.bytes > t.limit {
		e := t.ages.Front()
		if e == nil {
			return
		}
		t.drop(e.Value.(*claim))
		t.evictions++
	}
}

// drop removes a claim that has no claim of its upstream behind it.
func (t *Tree) drop(c *claim) {
	u := t.ups[c.up]
	u.tokens -= int64(c.n) * int64(c.weight)
	t.ages.Remove(c.all)
	u.ages.Remove(c.by)
	delete(c.node.claims, c.up)
	t.bytes -= claimBytes
	t.shrink(c.node)
}

// shrink gives back the blocks of n that nobody claims any more.
func (t *Tree) shrink(n *node) {
	if len(n.children) > 0 {
		return
	}
	most := 0
	for _, c := range n.claims {
		most = max(most, c.n)
	}
	t.blocks -= len(n.hashes) - most
	t.bytes -= int64(len(n.hashes)-most) * blockBytes
	if most > 0 {
		n.hashes = n.hashes[:most:most]
		return
	}
	delete(n.parent.children, n.hashes[0])
	t.count(-1, 0)
	if p := n.parent; p != t.root {
		t.shrink(p)
	}
}

func (t *Tree) count(runs, blocks int) {
	t.runs += runs
	t.blocks += blocks
	t.bytes += int64(runs)*nodeBytes + int64(blocks)*blockBytes
}

func common(a, b []uint64) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
