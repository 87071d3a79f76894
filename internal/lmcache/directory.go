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
	// maxGroups bounds the object groups of a model.
	maxGroups = 16
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

// directoryKey is one object group of one chunk of one rank. The tokens in it are
// skipped.
type directoryKey struct {
	Key struct {
		Hash  string `json:"chunk_hash_hex"`
		Group int    `json:"object_group_id"`
	} `json:"key"`
	Placements []placement `json:"placements"`
}

// directory counts the leading chunks that each node holds. LMCache can use a chunk
// only if it holds that and all chunks before it, for every rank. Of a model with
// several kinds of layers it keeps a group of objects for each (see run).
type directory struct {
	in        *json.Decoder
	limit     *limitedReader
	worldSize int
	hash      string      // of the chunk that is being read
	keys      byGroup     // of that chunk, so far
	chunks    int         // before that chunk
	groups    map[int]int // by LMCache's number: the order in which they were seen
	known     groupSet    // all groups so far
	nodes     map[string]*nodeCount
	shared    run
	sharedHas byGroup // ranks of the chunk being read that are in shared places
}

// groupSet is a set of object groups, byGroup a count for each.
type (
	groupSet uint16
	byGroup  [maxGroups]int
)

// run follows how far a prefix is held. A model's layers with full attention need
// each chunk of it. Those with a sliding window or a recurrent state need only its
// last chunks, and LMCache may not even have the others. Which group has which layers
// is not in the answer. So a prefix counts when some group is held without a gap and
// each group's last chunk is there. Of a single group that is each chunk.
type run struct {
	unbroken groupSet // groups held up to the chunk being read, without a gap
	chunks   int      // the longest prefix that counts
	of       groupSet // the groups known then: with a further one it does not count
}

// newRun returns a run that has no gap yet.
func newRun() run { return run{unbroken: ^groupSet(0)} }

// add ends a chunk, of which these groups are held. known are all groups so far, and
// before the number of the chunks before it.
func (r *run) add(held, known groupSet, before int) {
	r.unbroken &= held
	if r.unbroken != 0 && held == known {
		r.chunks, r.of = before+1, known
	}
}

// length returns the length of the prefix that counts, given all groups.
func (r *run) length(all groupSet) int {
	if r.of != all {
		return 0
	}
	return r.chunks
}

// nodeCount follows the prefix that one node holds, and counts the ranks of the chunk
// being read that it holds, by group.
type nodeCount struct {
	memory, all       run
	inMemory, inPlace byGroup
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
// the chunks in order, each with all of its ranks, each with its object groups. It
// returns the extents in chunks, by node. Those of shared places, which every node can
// read, are under "".
func readDirectory(r io.Reader, ranks int) (map[string]extent, error) {
	limited := &limitedReader{from: r, all: maxDirectory}
	d := directory{
		worldSize: ranks, in: json.NewDecoder(limited), limit: limited,
		groups: make(map[int]int), nodes: make(map[string]*nodeCount), shared: newRun(),
	}
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
	group, ok := d.group(k.Key.Group)
	if !ok {
		return ErrAnswer
	}
	d.keys[group]++
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
	return d.count(group, counted)
}

// group returns the number of a group in a groupSet. It reports false when there are
// too many.
func (d *directory) group(id int) (int, bool) {
	g, seen := d.groups[id]
	if !seen {
		if len(d.groups) == maxGroups {
			return 0, false
		}
		g = len(d.groups)
		d.groups[id] = g
		d.known |= 1 << g
	}
	return g, true
}

// count counts the nodes that hold a key of a group.
func (d *directory) count(group int, holders map[string]extent) error {
	for node, had := range holders {
		if node == "" {
			d.sharedHas[group]++
			continue
		}
		n := d.nodes[node]
		if n == nil {
			if len(d.nodes) == maxNodes {
				return ErrAnswer
			}
			n = &nodeCount{memory: newRun(), all: d.shared}
			if d.chunks > 0 {
				n.memory.unbroken = 0
			}
			d.nodes[node] = n
		}
		n.inMemory[group] += had.memory
		n.inPlace[group] += had.all
	}
	return nil
}

// endChunk ends the chunk that is being read. It reports false when that had too few
// keys, or too many. The first group is in the answer whether it is held or not, others
// only for the ranks that some node holds.
func (d *directory) endChunk() bool {
	if d.keys == (byGroup{}) {
		return true
	}
	for group, keys := range d.keys {
		if keys > d.worldSize || group == 0 && keys < d.worldSize {
			return false
		}
	}
	shared := d.complete(&d.sharedHas)
	d.shared.add(shared, d.known, d.chunks)
	for _, n := range d.nodes {
		n.memory.add(d.complete(&n.inMemory), d.known, d.chunks)
		n.all.add(d.complete(&n.inPlace)|shared, d.known, d.chunks)
		n.inMemory, n.inPlace = byGroup{}, byGroup{}
	}
	d.sharedHas, d.keys = byGroup{}, byGroup{}
	d.chunks++
	return true
}

// complete returns the groups with all ranks of the chunk.
func (d *directory) complete(ranks *byGroup) (groups groupSet) {
	for group, n := range ranks {
		if n > 0 && n >= d.worldSize {
			groups |= 1 << group
		}
	}
	return groups
}

// extents returns the result.
func (d *directory) extents() map[string]extent {
	extents := make(map[string]extent, len(d.nodes)+1)
	for node, n := range d.nodes {
		if all := n.all.length(d.known); all > 0 {
			extents[node] = extent{n.memory.length(d.known), all}
		}
	}
	if all := d.shared.length(d.known); all > 0 {
		extents[""] = extent{all: all}
	}
	return extents
}
