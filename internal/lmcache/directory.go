// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"encoding/json"
	"io"
)

const (
	// maxDirectory bounds a coordinator's answer about a prefix, in bytes. It
	// has some 250 bytes for each chunk, rank and place, and quotes the tokens.
	maxDirectory = 32 << 20
	// maxElement bounds what of it is held at a time: one key, or what is not
	// read.
	maxElement = 2 << 20
	// maxPlacements bounds in how many places one key may be.
	maxPlacements = 4096
)

// run is how much of a prefix somebody holds from its beginning: chunks or
// tokens.
type extent struct {
	memory, all int
}

// placement is a place where a coordinator believes a key to be.
type placement struct {
	Node   string `json:"instance_id"`
	Tier   string `json:"tier"`
	Shared bool   `json:"shared"` // every node reaches it, whoever has reported it
}

// directoryKey is one chunk of one rank. The tokens that an answer repeats are
// passed over.
type directoryKey struct {
	Key struct {
		Hash string `json:"chunk_hash_hex"`
	} `json:"key"`
	Placements []placement `json:"placements"`
}

// directory counts the leading chunks that each node holds. LMCache can use a
// chunk only when it has it for every rank, and only after all before it.
type directory struct {
	in        *json.Decoder
	limit     *limitedReader
	worldSize int
	hash      string // of the chunk that is being read
	keys      int    // read of it
	chunks    int    // before it
	nodes     map[string]*nodeCount
	shared    nodeCount
}

// holder is one node's runs so far, and what it has of the chunk being read.
type nodeCount struct {
	extent
	memoryRanks, allRanks int // ranks
}

// rations is a reader that gives out so much for an element, and so much in
// all: a decoder reads on until it has a whole one.
type limitedReader struct {
	from         io.Reader
	element, all int
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

// readDirectory reads a coordinator's answer to a lookup, key by key: results
// are the chunks in order, each with all its ranks. It returns the runs in
// chunks, by node; those of shared places, which are every node's, under "".
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

// holder returns the counts of a node; nil when there are too many nodes.
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

// next ends the chunk that is being read; false when ranks were missing in it,
// or too many.
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

// end makes the runs one chunk longer, if they reach up to it and have it for
// every rank: all in shared places, or all in the node's own.
func (h *nodeCount) endChunk(before, ranks, shared int) {
	if h.extent.memory == before && h.memoryRanks >= ranks {
		h.extent.memory++
	}
	if h.extent.all == before && (h.allRanks >= ranks || shared >= ranks) {
		h.extent.all++
	}
	h.memoryRanks, h.allRanks = 0, 0
}

// runs returns what was counted.
func (d *directory) extents() map[string]extent {
	runs := make(map[string]extent, len(d.nodes)+1)
	for node, h := range d.nodes {
		if h.extent.all > 0 {
			runs[node] = h.extent
		}
	}
	if d.shared.extent.all > 0 {
		runs[""] = d.shared.extent
	}
	return runs
}
