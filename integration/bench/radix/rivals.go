// SPDX-License-Identifier: Apache-2.0

// Package radix compares the radixcache with other ways to answer the same
// question, on workload W1: for each of 64 upstreams, how many blocks of this
// chain does it hold? It is a module of its own, because of its dependencies.
package radix

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

// upstreams bounds the upstreams of the rivals: each takes one bit of a word.
const upstreams = 64

// answer is the number of blocks that each upstream holds.
type answer [upstreams]int32

// prefixIndex is one of the compared indexes. All are safe for concurrent use.
type prefixIndex interface {
	insert(up int, chain []uint64)
	lookup(chain []uint64, out *answer)
	remove(up int)
}

// tree is the radixcache.
type tree struct {
	t     *radixcache.Tree
	ids   [upstreams]radixcache.Upstream
	place map[radixcache.Upstream]int
	buf   sync.Pool
}

func newTree(limit int64) *tree {
	x := &tree{t: radixcache.New(limit), place: map[radixcache.Upstream]int{}}
	x.buf.New = func() any { return new([]radixcache.Match) }
	for i := range x.ids {
		x.ids[i] = x.t.Register(string([]byte{'p', byte('0' + i/10), byte('0' + i%10)}))
		x.place[x.ids[i]] = i
	}
	return x
}

func (x *tree) insert(up int, chain []uint64) { x.t.Insert(x.ids[up], chain, 16) }
func (x *tree) remove(up int)                 { x.t.Forget(x.ids[up]) }

func (x *tree) lookup(chain []uint64, out *answer) {
	p := x.buf.Get().(*[]radixcache.Match)
	*p = x.t.Lookup(chain, (*p)[:0])
	for _, m := range *p {
		out[x.place[m.Upstream]] = m.Blocks
	}
	x.buf.Put(p)
}

// masks maps a block hash to the set of upstreams that hold the block.
type masks interface {
	get(h uint64) uint64
	or(h, bit uint64)
	clear(bit uint64)
}

// locked is a prefixIndex over masks under one lock.
type locked struct {
	mu   sync.RWMutex
	m    masks
	jump bool
}

func (x *locked) insert(up int, chain []uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, h := range chain {
		x.m.or(h, 1<<up)
	}
}

func (x *locked) remove(up int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.m.clear(1 << up)
}

func (x *locked) lookup(chain []uint64, out *answer) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	search(x.m.get, chain, out, x.jump)
}

// search finds how far each upstream holds the chain. With jump it looks 32 blocks
// ahead, and goes back by halves only where an upstream no longer has the block.
func search(get func(uint64) uint64, chain []uint64, out *answer, jump bool) {
	step := 1
	if jump {
		step = 32
	}
	left := ^uint64(0)
	for at := 0; at < len(chain) && left != 0; at += step {
		end := min(at+step, len(chain))
		now := left & get(chain[end-1])
		if now != left {
			bisect(get, chain, at, end-1, left, now, out)
		}
		left = now
	}
	mark(left, len(chain), out)
}

// bisect finds the block between lo and hi at which each upstream of left that is not
// in now ends. now are those that hold block hi.
func bisect(get func(uint64) uint64, chain []uint64, lo, hi int, left, now uint64, out *answer) {
	if lo == hi {
		mark(left&^now, lo, out)
		return
	}
	mid := (lo + hi) / 2
	m := left & get(chain[mid])
	if m != left {
		bisect(get, chain, lo, mid, left, m, out)
	}
	if m != now {
		bisect(get, chain, mid+1, hi, m, now, out)
	}
}

func mark(set uint64, n int, out *answer) {
	for ; set != 0; set &= set - 1 {
		out[bits.TrailingZeros64(set)] = int32(n)
	}
}

// gomap is a plain Go map.
type gomap map[uint64]uint64

func (m gomap) get(h uint64) uint64 { return m[h] }
func (m gomap) or(h, bit uint64)    { m[h] |= bit }

func (m gomap) clear(bit uint64) {
	for h, v := range m {
		if v &^= bit; v == 0 {
			delete(m, h)
		} else {
			m[h] = v
		}
	}
}

// flat is a hash table with open addressing, sized beforehand: as fast as such a table
// gets, but without a limit, ages, or a way to grow without a pause.
type flat struct {
	keys, vals []uint64
	mask       uint64
}

func newFlat(blocks int) *flat {
	n := 1 << bits.Len(uint(blocks*4/3))
	return &flat{make([]uint64, n), make([]uint64, n), uint64(n - 1)}
}

func (f *flat) get(h uint64) uint64 {
	for i := h & f.mask; f.keys[i] != 0; i = (i + 1) & f.mask {
		if f.keys[i] == h {
			return f.vals[i]
		}
	}
	return 0
}

func (f *flat) or(h, bit uint64) {
	i := h & f.mask
	for f.keys[i] != 0 && f.keys[i] != h {
		i = (i + 1) & f.mask
	}
	f.keys[i] = h
	f.vals[i] |= bit
}

func (f *flat) clear(bit uint64) {
	for i := range f.vals {
		f.vals[i] &^= bit
	}
}

// immutable is go-immutable-radix, keyed by block hash: with whole chains as keys, the
// prefixes of one prompt alone would take quadratic memory. Readers take a snapshot
// and no lock.
type immutable struct {
	mu   sync.Mutex
	root atomic.Pointer[iradix.Tree[uint64]]
}

func newImmutable() *immutable {
	x := &immutable{}
	x.root.Store(iradix.New[uint64]())
	return x
}

func key(h uint64) []byte { return binary.BigEndian.AppendUint64(nil, h) }

func (x *immutable) insert(up int, chain []uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	txn := x.root.Load().Txn()
	for _, h := range chain {
		k := key(h)
		if v, _ := txn.Get(k); v>>up&1 == 0 {
			txn.Insert(k, v|1<<up)
		}
	}
	x.root.Store(txn.Commit())
}

func (x *immutable) lookup(chain []uint64, out *answer) {
	root := x.root.Load()
	var buf [8]byte
	search(func(h uint64) uint64 {
		binary.BigEndian.PutUint64(buf[:], h)
		v, _ := root.Get(buf[:])
		return v
	}, chain, out, true)
}

func (x *immutable) remove(up int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.root.Load()
	txn := old.Txn()
	for it := old.Root().Iterator(); ; {
		k, v, ok := it.Next()
		if !ok {
			break
		}
		if v>>up&1 == 0 {
			continue
		}
		if v &^= 1 << up; v == 0 {
			txn.Delete(k)
		} else {
			txn.Insert(k, v)
		}
	}
	x.root.Store(txn.Commit())
}

// Interface guards
var (
	_ prefixIndex = (*tree)(nil)
	_ prefixIndex = (*locked)(nil)
	_ prefixIndex = (*immutable)(nil)
)
