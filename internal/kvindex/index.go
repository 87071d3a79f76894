// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

// Index holds what engines report to have, in a tree that it does not own, and
// which text leads to which tokens. It is safe for concurrent use.
type Index struct {
	tree        *radixcache.Tree
	seed        uint64
	memory      memory
	log         linkLog
	chunks      chunkPool
	epochs      [epochSlots]atomic.Uint32
	endedEpochs atomic.Uint64
	lastExpire  atomic.Int64 // time of the latest Expire, in seconds

	adapters    adapterNames
	firstExpire atomic.Int64 // time of the first

	mu    sync.Mutex
	feeds map[string]*Feed
}

// Stats describes an index at one moment.
type Stats struct {
	// Bytes is the memory of the index beside the tree, Limit its limit.
	Bytes, Limit int64
	// Feeds counts the publishers.
	Feeds int
	// Links counts the text blocks that lead to tokens, those of ended epochs
	// included until they are overwritten.
	Links int
	// Expiring counts the entries that will expire.
	Expiring int
	// Epochs counts the epochs that have ended.
	Epochs uint64
}

// New returns an index over a tree. It calls reserve with the bytes that it takes
// itself, at once and with every change: before it takes memory and after it gives
// some back, so that the tree can have the rest of a common limit. reserve may be
// nil, and must not call the index. Until SetLimit nothing can be linked.
func New(tree *radixcache.Tree, reserve func(bytes int64)) *Index {
	x := &Index{tree: tree, seed: rand.Uint64(), feeds: make(map[string]*Feed)}
	x.memory.reserve = reserve
	x.log.memory = &x.memory
	x.chunks.memory = &x.memory
	x.memory.addFixed(int64(unsafe.Sizeof(*x)))
	return x
}

// SetLimit sets the common limit of tree and index; the index takes a quarter of it
// at most (see LimitDivisor). What exceeds that is dropped before SetLimit returns,
// the oldest links first.
func (x *Index) SetLimit(whole int64) {
	x.memory.setLimit(max(whole, 0) / LimitDivisor)
	x.log.shrinkToLimit()
	for x.memory.over() > 0 && x.expireEarly() {
	}
	x.log.shrinkToLimit()
}

// expireEarly ends the oldest entries of one feed before their time.
func (x *Index) expireEarly() bool {
	for _, f := range x.allFeeds() {
		if f.expireEarly() {
			return true
		}
	}
	return false
}

// Feed returns the feed that is registered in the tree under this name, new if need
// be. It is for one publisher, or for all of an upstream's.
func (x *Index) Feed(name string) *Feed {
	x.mu.Lock()
	defer x.mu.Unlock()
	if f := x.feeds[name]; f != nil {
		return f
	}
	f := newFeed(x, name)
	x.feeds[name] = f
	x.memory.addFixed(f.cost())
	return f
}

// Drop removes a feed and all its entries. The feed must not be used any more.
func (x *Index) Drop(f *Feed) {
	x.mu.Lock()
	if x.feeds[f.name] != f {
		x.mu.Unlock()
		return
	}
	delete(x.feeds, f.name)
	x.mu.Unlock()
	f.close()
	x.memory.addFixed(-f.cost())
}

// Expire ends entries TTL after they were stored, in tiers for which their
// publisher has never sent a removal. Call it once a minute.
func (x *Index) Expire(now time.Time) {
	t := now.Unix()
	x.firstExpire.CompareAndSwap(0, t)
	x.lastExpire.Store(t)
	for _, f := range x.allFeeds() {
		for f.expire(t) {
		}
	}
}

func (x *Index) allFeeds() []*Feed {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make([]*Feed, 0, len(x.feeds))
	for _, f := range x.feeds {
		all = append(all, f)
	}
	return all
}

// Stats describes the index at this moment.
func (x *Index) Stats() Stats {
	s := Stats{Bytes: x.memory.bytes(), Epochs: x.endedEpochs.Load(), Links: x.log.count()}
	x.memory.mu.Lock()
	s.Limit = x.memory.limit
	x.memory.mu.Unlock()
	for _, f := range x.allFeeds() {
		s.Feeds++
		s.Expiring += f.Stats().Expiring
	}
	return s
}
