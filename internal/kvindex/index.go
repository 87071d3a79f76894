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

// Index is what engines say they hold, in a tree that it does not own, and which
// text leads to which tokens. It is safe for concurrent use.
type Index struct {
	tree        *radixcache.Tree
	seed        uint64
	memory      memory
	log         linkLog
	chunks      chunkPool
	epochs      [epochSlots]atomic.Uint32
	endedEpochs atomic.Uint64
	lastExpire  atomic.Int64 // of the last Expire, in seconds

	adapters    adapterNames
	firstExpire atomic.Int64 // of the first

	mu    sync.Mutex
	feeds map[string]*Feed
}

// Stats describes an index at one moment.
type Stats struct {
	// Bytes is what the index has allocated beside the tree, Limit what it may.
	Bytes, Limit int64
	// Feeds counts the publishers.
	Feeds int
	// Links counts the text blocks that lead to tokens, also those of epochs that
	// have ended and are still to be written over.
	Links int
	// Waiting counts the entries of tiers without removals, each for its time.
	Expiring int
	// Epochs counts how many have ended.
	Epochs uint64
}

// New returns an index over a tree. It tells reserve how many bytes it has itself,
// at once and whenever that changes: before it takes memory and after it gave some
// back, so that the tree's limit can be what is left of the whole; reserve may be
// nil, and must not call the index. Until SetLimit nothing can be linked.
func New(tree *radixcache.Tree, reserve func(bytes int64)) *Index {
	x := &Index{tree: tree, seed: rand.Uint64(), feeds: make(map[string]*Feed)}
	x.memory.reserve = reserve
	x.log.memory = &x.memory
	x.chunks.memory = &x.memory
	x.memory.addFixed(int64(unsafe.Sizeof(*x)))
	return x
}

// SetLimit tells the index the limit of the whole, tree and all; it takes a quarter
// of it at most (see Share). What is more goes before SetLimit returns, the oldest
// links first.
func (x *Index) SetLimit(whole int64) {
	x.memory.setLimit(max(whole, 0) / LimitDivisor)
	x.log.shrinkToLimit()
	for x.memory.over() > 0 && x.expireEarly() {
	}
	x.log.shrinkToLimit()
}

// shorten ends the time of the oldest entries of one feed.
func (x *Index) expireEarly() bool {
	for _, f := range x.allFeeds() {
		if f.expireEarly() {
			return true
		}
	}
	return false
}

// Feed returns the feed of the publisher, or of all of an upstream's publishers,
// that is registered in the tree under this name.
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

// Drop takes a feed, and all it has entered, out. It must not be used any more.
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

// Expire ends the entries in tiers for which their publisher has never sent a
// removal, TTL after they were stored; it is to be called each minute.
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

// Stats returns the figures of this moment.
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
