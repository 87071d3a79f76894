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
type run struct {
	memory, any int
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
	in      *json.Decoder
	rations *rations
	ranks   int
	hash    string // of the chunk that is being read
	keys    int    // read of it
	chunks  int    // before it
	nodes   map[string]*holder
	shared  holder
}

// holder is one node's runs so far, and what it has of the chunk being read.
type holder struct {
	run
	memory, any int // ranks
}

// rations is a reader that gives out so much for an element, and so much in
// all: a decoder reads on until it has a whole one.
type rations struct {
	from         io.Reader
	element, all int
}

func (r *rations) Read(p []byte) (int, error) {
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
func readDirectory(r io.Reader, ranks int) (map[string]run, error) {
	limited := &rations{from: r, all: maxDirectory}
	d := directory{ranks: ranks, in: json.NewDecoder(limited), rations: limited, nodes: make(map[string]*holder)}
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
	return d.runs(), nil
}

func (d *directory) expect(want json.Delim) bool {
	d.rations.element = maxElement
	got, err := d.in.Token()
	return err == nil && got == want
}

// more reports whether there is another element.
func (d *directory) more() bool {
	d.rations.element = maxElement
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
	if !d.expect(']') || !d.next() {
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
		if !d.next() {
			return ErrAnswer
		}
		d.hash = hash
	}
	d.keys++
	counted := make(map[string]run, len(k.Placements)) // a node may have a key in several places of a tier
	for _, p := range k.Placements {
		if p.Node == "" || len(p.Node) > maxID {
			return ErrAnswer
		}
		node := p.Node
		if p.Shared && p.Tier != "l1" {
			node = ""
		}
		had := counted[node]
		had.any = 1
		if p.Tier == "l1" {
			had.memory = 1
		}
		counted[node] = had
	}
	for node, had := range counted {
		h := d.holder(node)
		if h == nil {
			return ErrAnswer
		}
		h.memory += had.memory
		h.any += had.any
	}
	return nil
}

// holder returns the counts of a node; nil when there are too many nodes.
func (d *directory) holder(node string) *holder {
	if node == "" {
		return &d.shared
	}
	h := d.nodes[node]
	if h == nil && len(d.nodes) < maxNodes {
		h = &holder{run: run{any: d.shared.run.any}}
		d.nodes[node] = h
	}
	return h
}

// next ends the chunk that is being read; false when ranks were missing in it,
// or too many.
func (d *directory) next() bool {
	if d.keys == 0 {
		return true
	}
	if d.keys != d.ranks {
		return false
	}
	shared := d.shared.any
	d.shared.end(d.chunks, d.ranks, 0)
	for _, h := range d.nodes {
		h.end(d.chunks, d.ranks, shared)
	}
	d.chunks++
	d.keys = 0
	return true
}

// end makes the runs one chunk longer, if they reach up to it and have it for
// every rank: all in shared places, or all in the node's own.
func (h *holder) end(before, ranks, shared int) {
	if h.run.memory == before && h.memory >= ranks {
		h.run.memory++
	}
	if h.run.any == before && (h.any >= ranks || shared >= ranks) {
		h.run.any++
	}
	h.memory, h.any = 0, 0
}

// runs returns what was counted.
func (d *directory) runs() map[string]run {
	runs := make(map[string]run, len(d.nodes)+1)
	for node, h := range d.nodes {
		if h.run.any > 0 {
			runs[node] = h.run
		}
	}
	if d.shared.run.any > 0 {
		runs[""] = d.shared.run
	}
	return runs
}
