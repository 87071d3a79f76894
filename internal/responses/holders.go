// SPDX-License-Identifier: Apache-2.0

// Package responses remembers which upstream keeps a stored response of the
// Responses API. Engines do not share them, so a request that refers to one can
// be served by that upstream only.
//
// It keeps keyed hashes and no IDs. All it knows is a hint: an ID without an
// entry, or with a wrong one, is only routed as any other request is.
package responses

import (
	"encoding/binary"
	"maps"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// Limit is the number of responses that a gateway remembers. They take 3 MB.
const Limit = 1 << 16

// Key stands for the ID of a response.
type Key uint64

// KeyOf hashes an ID under a secret, so that entries say nothing about IDs. The
// secret's length comes first, so that different parts never give the same bytes.
func KeyOf(secret []byte, id string) Key {
	var d xxhash.Digest
	d.Reset()
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(secret)))
	_, _ = d.Write(n[:])
	_, _ = d.Write(secret)
	_, _ = d.WriteString(id)
	return Key(d.Sum64())
}

// Holders remembers the upstreams of the latest responses. It is safe for
// concurrent use.
type Holders struct {
	limit int

	mu        sync.Mutex
	upstreams map[Key]upstream
	order     []Key // oldest first from next on, then from 0
	next      int   // of order, once that is full: the oldest
	names     names
}

// NewHolders returns an empty memory of at most limit responses, 1 or more.
func NewHolders(limit int) *Holders {
	h := &Holders{limit: limit}
	h.clear()
	return h
}

// clear drops everything. The caller holds mu, or owns h.
func (h *Holders) clear() {
	h.upstreams, h.order, h.next, h.names = make(map[Key]upstream), nil, 0, newNames()
}

// Record notes that the upstream at an address keeps a response. At the limit
// the oldest response is dropped. A response that is recorded again keeps its
// age, so that asking for one again and again does not push others out.
func (h *Holders) Record(k Key, address string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if u, known := h.upstreams[k]; known {
		h.upstreams[k] = h.names.take(address)
		h.names.release(u)
		return
	}
	if len(h.order) < h.limit {
		h.order = append(h.order, k)
	} else {
		h.names.release(h.upstreams[h.order[h.next]])
		delete(h.upstreams, h.order[h.next])
		h.order[h.next] = k
		h.next = (h.next + 1) % h.limit
	}
	h.upstreams[k] = h.names.take(address)
}

// Holder returns the address of the upstream that keeps a response, "" when it
// is not known.
func (h *Holders) Holder(k Key) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	u, known := h.upstreams[k]
	if !known {
		return ""
	}
	return h.names.address[u]
}

// Forget drops all responses of an upstream.
func (h *Holders) Forget(address string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gone, known := h.names.number[address]
	if !known {
		return
	}
	kept := make([]Key, 0, len(h.order))
	for i := range h.order {
		k := h.order[(h.next+i)%len(h.order)]
		if h.upstreams[k] != gone {
			kept = append(kept, k)
		}
	}
	maps.DeleteFunc(h.upstreams, func(_ Key, u upstream) bool { return u == gone })
	h.order, h.next = kept, 0
	h.names.drop(gone)
}

// Clear drops everything.
func (h *Holders) Clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clear()
}

// Len returns the number of responses remembered.
func (h *Holders) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.upstreams)
}
