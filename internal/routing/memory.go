// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"sync"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

// memory divides the limit: the tree may have what the KV index does not take.
type memory struct {
	tree *radixcache.Tree

	mu         sync.Mutex
	limit      int64 // of both, in bytes
	indexBytes int64 // of the KV index
}

// SetLimit changes the limit of the tree and the index together, in bytes. What no
// longer fits is dropped, oldest first.
func (rt *Router) SetLimit(limit int64) {
	if rt.memory.setLimit(limit) {
		rt.index.SetLimit(limit)
	}
}

// Limit returns that limit, in bytes.
func (rt *Router) Limit() int64 {
	rt.memory.mu.Lock()
	defer rt.memory.mu.Unlock()
	return rt.memory.limit
}

func (m *memory) setLimit(limit int64) (changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed = m.limit != limit
	m.limit = limit
	m.divide()
	return changed
}

// setIndexBytes is called by the KV index before it takes more memory and after
// it has given some back.
func (m *memory) setIndexBytes(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.indexBytes = bytes
	m.divide()
}

// divide gives the tree what is left. The caller holds mu.
func (m *memory) divide() {
	if left := max(0, m.limit-m.indexBytes); left != m.tree.Limit() {
		m.tree.SetLimit(left)
	}
}

// Stats describes the tree and the KV index.
type Stats struct {
	radixcache.Stats
	// IndexBytes is the memory of the KV index; Bytes and Limit cover it too.
	IndexBytes int64
	// Links counts the blocks of text whose tokens are known.
	Links int
	// Epochs counts how often a model's links were dropped: because its tokens
	// contradicted them, or its engines listed other models or were restarted.
	Epochs uint64
}

// Stats describes the tree and the KV index at this moment.
func (rt *Router) Stats() Stats {
	index := rt.index.Stats()
	s := Stats{Stats: rt.tree.Stats(), IndexBytes: index.Bytes, Links: index.Links, Epochs: index.Epochs}
	s.Bytes += index.Bytes
	s.Limit = rt.Limit()
	return s
}
