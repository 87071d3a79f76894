// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// world is a random set of nodes: the places of each chunk, rank and object group.
type world struct {
	chunks, ranks, groups int
	nodes                 []string
	memory, disk          map[[4]int]bool // node, chunk, rank, group
	shared                map[[3]int]bool // chunk, rank, group
}

func randomWorld(r *rand.Rand) *world {
	w := &world{
		chunks: r.IntN(8), ranks: 1 + r.IntN(3), groups: 1 + max(0, r.IntN(6)-3),
		memory: map[[4]int]bool{}, disk: map[[4]int]bool{}, shared: map[[3]int]bool{},
	}
	for n := range 1 + r.IntN(4) {
		w.nodes = append(w.nodes, fmt.Sprintf("n%d", n))
	}
	likely := r.Float64()
	for g := range w.groups {
		if g > 0 {
			likely = []float64{likely, r.Float64(), 1}[r.IntN(3)]
		}
		first := 0 // a window may leave out the beginning
		if g > 0 && r.IntN(2) == 0 {
			first = r.IntN(w.chunks + 1)
		}
		for c := first; c < w.chunks; c++ {
			for k := range w.ranks {
				w.shared[[3]int{c, k, g}] = r.Float64() < likely/3
				for n := range w.nodes {
					w.memory[[4]int{n, c, k, g}] = r.Float64() < likely
					w.disk[[4]int{n, c, k, g}] = r.Float64() < likely
				}
			}
		}
	}
	return w
}

// answer returns a coordinator's answer.
func (w *world) answer(r *rand.Rand) string {
	results := []string{}
	for c := range w.chunks {
		for k := range w.ranks {
			for g := range w.groups {
				var places []string
				add := func(node, tier string, shared bool) {
					places = append(places, fmt.Sprintf(`{"instance_id":%q,"incarnation":1,"tier":%q,"backend":"b%d","size_bytes":1,"shared":%v}`, node, tier, r.IntN(9), shared))
				}
				for n, name := range w.nodes {
					if w.memory[[4]int{n, c, k, g}] {
						add(name, "l1", false)
					}
					for range 2 { // the node may have it on two disks
						if w.disk[[4]int{n, c, k, g}] {
							add(name, "l2", false)
						}
					}
				}
				if w.shared[[3]int{c, k, g}] {
					add("whoever", "l2", true)
				}
				if g > 0 && len(places) == 0 {
					continue
				}
				results = append(results, fmt.Sprintf(`{"key":{"chunk_hash_hex":"%04x","model_name":"m","kv_rank":%d,"object_group_id":%d,"cache_salt":""},"placements":[%s],"token_ids":[1,2]}`, c, k, g, strings.Join(places, ",")))
			}
		}
	}
	return fmt.Sprintf(`{"chunks":%d,"results":[%s]}`, w.chunks, strings.Join(results, ","))
}

// seen returns the groups in the answer.
func (w *world) seen() (groups []int) {
	for g := range w.groups {
		found := g == 0
		for c := range w.chunks {
			for k := range w.ranks {
				found = found || w.shared[[3]int{c, k, g}]
				for n := range w.nodes {
					found = found || w.memory[[4]int{n, c, k, g}] || w.disk[[4]int{n, c, k, g}]
				}
			}
		}
		if found {
			groups = append(groups, g)
		}
	}
	return groups
}

// extents counts by the definition: the longest prefix with every rank of some group
// in each chunk, and of every group in the last.
func (w *world) extents() map[string]extent {
	every := func(have func(rank int) bool) bool {
		for k := range w.ranks {
			if !have(k) {
				return false
			}
		}
		return true
	}
	groups := w.seen()
	longest := func(have func(chunk, group int) bool) (n int) {
		for length := 1; length <= w.chunks; length++ {
			last, whole := true, false
			for _, g := range groups {
				last = last && have(length-1, g)
				all := true
				for c := range length {
					all = all && have(c, g)
				}
				whole = whole || all
			}
			if last && whole {
				n = length
			}
		}
		return n
	}
	all := map[string]extent{}
	shared := func(c, g int) bool { return every(func(k int) bool { return w.shared[[3]int{c, k, g}] }) }
	if n := longest(shared); n > 0 {
		all[""] = extent{all: n}
	}
	for n, name := range w.nodes {
		held := extent{
			memory: longest(func(c, g int) bool { return every(func(k int) bool { return w.memory[[4]int{n, c, k, g}] }) }),
			all: longest(func(c, g int) bool {
				return shared(c, g) || every(func(k int) bool { return w.memory[[4]int{n, c, k, g}] || w.disk[[4]int{n, c, k, g}] })
			}),
		}
		if held.all > 0 {
			all[name] = held
		}
	}
	return all
}

func TestDirectoryCountsLikeTheDefinition(t *testing.T) {
	r, rounds := rand.New(rand.NewPCG(3, 4)), 3000
	if testing.Short() {
		rounds = 300
	}
	for range rounds {
		w := randomWorld(r)
		got, err := readDirectory(strings.NewReader(w.answer(r)), w.ranks)
		if err != nil {
			t.Fatal(err)
		}
		want := w.extents()
		for name, held := range want {
			// A node that the answer does not name holds only shared chunks.
			if _, named := got[name]; !named && held == want[""] {
				delete(want, name)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
}

func TestDirectoryIsChecked(t *testing.T) {
	one := `{"key":{"chunk_hash_hex":"aa"},"placements":[{"instance_id":"n","tier":"l1"}]}`
	group := func(id int) string {
		return strings.Replace(one, `"aa"`, fmt.Sprintf(`"aa","object_group_id":%d`, id), 1)
	}
	manyGroups := ""
	for id := range maxGroups {
		manyGroups += "," + group(1+id)
	}
	for body, want := range map[string]bool{
		`{"chunks":1,"results":[` + one + `]}`:                                   true,
		`{"results":[` + one + `],"chunks":1}`:                                   true,
		`{"chunks":1,"results":[` + one + `,` + one + `]}`:                       false, // a rank too many
		`{"chunks":1,"results":[` + one + `,` + group(1) + `]}`:                  true,
		`{"chunks":1,"results":[` + one + `,` + group(1) + `,` + group(1) + `]}`: false,
		`{"chunks":1,"results":[` + one + manyGroups + `]}`:                      false,
		`{"chunks":1,"results":[` + one + `],"results":[]}`:                      false,
		`{"chunks":1,"results":[` + one + `]`:                                    false,
		`{"chunks":1,"results":null}`:                                            false,
		`{"chunks":1}`:                                                           false,
		`{"results":[{"placements":[]}]}`:                                        false,
		`{"results":[{"key":{"chunk_hash_hex":"a"},"placements":[{}]}]}`:         false,
		`[]`: false, ``: false,
	} {
		if _, err := readDirectory(strings.NewReader(body), 1); (err == nil) != want {
			t.Errorf("%s: %v", body, err)
		}
	}
	if testing.Short() {
		return
	}
	// An endless element is given up, and so is an endless answer.
	for head, most := range map[string]int{`{"x":"`: 2 * maxElement, `{"results":[{"x":"`: 2 * maxElement, `{"results":[`: maxDirectory} {
		endless := &endlessReader{head: head, again: one + ","}
		if _, err := readDirectory(endless, 1<<30); err != ErrAnswer || endless.read > most || endless.read < maxElement/2 {
			t.Errorf("%s...: %v after %d bytes", head, err, endless.read)
		}
	}
}

// endlessReader is an endless answer.
type endlessReader struct {
	head, again, rest string
	read              int
}

func (r *endlessReader) Read(p []byte) (int, error) {
	if r.rest == "" {
		r.rest = r.again
		if r.read == 0 {
			r.rest = r.head
		} else if strings.HasSuffix(r.head, `"`) {
			r.rest = strings.Repeat(" ", 1024)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.read += n
	return n, nil
}
