// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"encoding/json"
	"io"
)

const (
	// maxDirectory bounds a coordinator's answer about a prefix, in bytes. It has some
	// 250 bytes for each chunk, rank and place, and repeats the tokens.
	maxDirectory = 32 << 20
	// maxElement bounds the part of it that is in memory at a time: one element.
	maxElement = 2 << 20
	// maxPlacements bounds the places of one key.
	maxPlacements = 4096
)

// extent is the length of a prefix, in chunks or in tokens, that a node holds in CPU
// memory, and in all tiers together.
type extent struct {
	memory, all int
}

// placement is one place of a key, as its node has reported it.
type placement struct {
	Node   string `json:"instance_id"`
	Tier   string `json:"tier"`
	Shared bool   `json:"shared"` // every node can read it
}

// directoryKey is one chunk of one rank. The tokens in it are skipped.
type directoryKey struct {
	Key struct {
		Hash string `json:"chunk_hash_hex"`
	} `json:"key"`
	Placements []placement `json:"placements"`
}

// directory counts the leading chunks that each node holds. LMCache can use a chunk
// only if it holds that and all chunks before it, for every rank.
type directory struct {
	in        *json.Decoder
	limit     *limitedReader
	worldSize int
	hash      string // of the chunk that is being read
	keys      int    // of that chunk, so far
	chunks    int    // before that chunk
	nodes     map[string]*nodeCount
	shared    nodeCount
}

// nodeCount counts one node's leading chunks so far, and the ranks of the chunk being
// read that it holds.
type nodeCount struct {
	extent
	memoryRanks, allRanks int
}

// limitedReader limits each element, and all elements together. A json.Decoder has no
// limit of its own.
type limitedReader struct {
	from         io.Reader
	element, all int // bytes left
}

func (r *limitedReader) Read(p []byte) (int, error) {
	p = p[:min(len(p), r.element, r.all)]
	if len(p) == 0 {
		return 0, ErrAnswer
	}
	n, err := r.from.Read(p)
	r.element -= n
	r.all -= n
	return n, err
}

// readDirectory reads a coordinator's answer to a lookup, key by key: its results are
// the chunks in order, each with all of its ranks. It returns the extents in chunks,
// by node. Those of shared places, which every node can read, are under "".
func readDirectory(r io.Reader, ranks int) (map[string]extent, error) {
	limited := &limitedReader{from: r, all: maxDirectory}
	d := directory{worldSize: ranks, in: json.NewDecoder(limited), limit: limited, nodes: make(map[string]*nodeCount)}
	if !d.expect('{') {
		return nil, ErrAnswer
	}
	seen := false
	for d.more() {
		name, err := d.in.Token()
		if err != nil {
			return nil, ErrAnswer
		}
		if name != "results" {
			var other json.RawMessage
			if d.in.Decode(&other) != nil {
				return nil, ErrAnswer
			}
			continue
		}
		if seen || d.read() != nil {
			return nil, ErrAnswer
		}
		seen = true
	}
	if !seen || !d.expect('}') {
		return nil, ErrAnswer
	}
	return d.extents(), nil
}

func (d *directory) expect(want json.Delim) bool {
	d.limit.element = maxElement
	got, err := d.in.Token()
	return err == nil && got == want
}

// more reports whether there is another element.
func (d *directory) more() bool {
	d.limit.element = maxElement
	return d.in.More()
}

// read reads the results.
func (d *directory) read() error {
	if !d.expect('[') {
		return ErrAnswer
	}
	for d.more() {
		var k directoryKey
		if d.in.Decode(&k) != nil {
			return ErrAnswer
		}
		if err := d.add(&k); err != nil {
			return err
		}
	}
	if !d.expect(']') || !d.endChunk() {
		return ErrAnswer
	}
	return nil
}

// add counts one key.
func (d *directory) add(k *directoryKey) error {
	hash := k.Key.Hash
	if hash == "" || len(k.Placements) > maxPlacements {
		return ErrAnswer
	}
	if hash != d.hash {
		if !d.endChunk() {
			return ErrAnswer
		}
		d.hash = hash
	}
	d.keys++
	counted := make(map[string]extent, len(k.Placements)) // a node may have a key in several places of a tier
	for _, p := range k.Placements {
		if p.Node == "" || len(p.Node) > maxID {
			return ErrAnswer
		}
		node := p.Node
		if p.Shared && p.Tier != "l1" {
			node = ""
		}
		had := counted[node]
		had.all = 1
		if p.Tier == "l1" {
			had.memory = 1
		}
		counted[node] = had
	}
	for node, had := range counted {
		h := d.count(node)
		if h == nil {
			return ErrAnswer
		}
		h.memoryRanks += had.memory
		h.allRanks += had.all
	}
	return nil
}

// count returns the counts of a node; nil when there are too many nodes.
func (d *directory) count(node string) *nodeCount {
	if node == "" {
		return &d.shared
	}
	h := d.nodes[node]
	if h == nil && len(d.nodes) < maxNodes {
		h = &nodeCount{extent: extent{all: d.shared.extent.all}}
		d.nodes[node] = h
	}
	return h
}

// endChunk ends the chunk that is being read. It reports false when that had too few
// ranks, or too many.
func (d *directory) endChunk() bool {
	if d.keys == 0 {
		return true
	}
	if d.keys != d.worldSize {
		return false
	}
	shared := d.shared.allRanks
	d.shared.endChunk(d.chunks, d.worldSize, 0)
	for _, h := range d.nodes {
		h.endChunk(d.chunks, d.worldSize, shared)
	}
	d.chunks++
	d.keys = 0
	return true
}

// endChunk makes the extents one chunk longer, if they reach up to the chunk and the
// node holds every rank of it: all in its own places, or all in shared ones.
func (h *nodeCount) endChunk(before, ranks, shared int) {
	if h.extent.memory == before && h.memoryRanks >= ranks {
		h.extent.memory++
	}
	if h.extent.all == before && (h.allRanks >= ranks || shared >= ranks) {
		h.extent.all++
	}
	h.memoryRanks, h.allRanks = 0, 0
}

// extents returns the result.
func (d *directory) extents() map[string]extent {
	extents := make(map[string]extent, len(d.nodes)+1)
	for node, h := range d.nodes {
		if h.extent.all > 0 {
			extents[node] = h.extent
		}
	}
	if d.shared.extent.all > 0 {
		extents[""] = d.shared.extent
	}
	return extents
}
