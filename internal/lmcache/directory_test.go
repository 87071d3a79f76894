// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// world is a random set of nodes: the places of each chunk and rank.
type world struct {
	chunks, ranks int
	nodes         []string
	memory, disk  map[[3]int]bool // node, chunk, rank
	shared        map[[2]int]bool // chunk, rank
}

func randomWorld(r *rand.Rand) *world {
	w := &world{chunks: r.IntN(8), ranks: 1 + r.IntN(3), memory: map[[3]int]bool{}, disk: map[[3]int]bool{}, shared: map[[2]int]bool{}}
	for n := range 1 + r.IntN(4) {
		w.nodes = append(w.nodes, fmt.Sprintf("n%d", n))
	}
	likely := r.Float64()
	for c := range w.chunks {
		for k := range w.ranks {
			w.shared[[2]int{c, k}] = r.Float64() < likely/3
			for n := range w.nodes {
				w.memory[[3]int{n, c, k}] = r.Float64() < likely
				w.disk[[3]int{n, c, k}] = r.Float64() < likely
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
			var places []string
			add := func(node, tier string, shared bool) {
				places = append(places, fmt.Sprintf(`{"instance_id":%q,"incarnation":1,"tier":%q,"backend":"b%d","size_bytes":1,"shared":%v}`, node, tier, r.IntN(9), shared))
			}
			for n, name := range w.nodes {
				if w.memory[[3]int{n, c, k}] {
					add(name, "l1", false)
				}
				for range 2 { // the node may have it on two disks
					if w.disk[[3]int{n, c, k}] {
						add(name, "l2", false)
					}
				}
			}
			if w.shared[[2]int{c, k}] {
				add("whoever", "l2", true)
			}
			results = append(results, fmt.Sprintf(`{"key":{"chunk_hash_hex":"%04x","model_name":"m","kv_rank":%d,"cache_salt":""},"placements":[%s],"token_ids":[1,2]}`, c, k, strings.Join(places, ",")))
		}
	}
	return fmt.Sprintf(`{"chunks":%d,"results":[%s]}`, w.chunks, strings.Join(results, ","))
}

// extents counts by the definition: leading chunks with every rank.
func (w *world) extents() map[string]extent {
	every := func(have func(rank int) bool) bool {
		for k := range w.ranks {
			if !have(k) {
				return false
			}
		}
		return true
	}
	lead := func(have func(chunk int) bool) (n int) {
		for n < w.chunks && have(n) {
			n++
		}
		return n
	}
	all := map[string]extent{}
	shared := func(c int) bool { return every(func(k int) bool { return w.shared[[2]int{c, k}] }) }
	if n := lead(shared); n > 0 {
		all[""] = extent{all: n}
	}
	for n, name := range w.nodes {
		in := func(c, k int) bool { return w.memory[[3]int{n, c, k}] }
		held := extent{
			memory: lead(func(c int) bool { return every(func(k int) bool { return in(c, k) }) }),
			all: lead(func(c int) bool {
				return shared(c) || every(func(k int) bool { return in(c, k) || w.disk[[3]int{n, c, k}] })
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
	for body, want := range map[string]bool{
		`{"chunks":1,"results":[` + one + `]}`:                           true,
		`{"results":[` + one + `],"chunks":1}`:                           true,
		`{"chunks":1,"results":[` + one + `,` + one + `]}`:               false, // a rank too many
		`{"chunks":1,"results":[` + one + `],"results":[]}`:              false,
		`{"chunks":1,"results":[` + one + `]`:                            false,
		`{"chunks":1,"results":null}`:                                    false,
		`{"chunks":1}`:                                                   false,
		`{"results":[{"placements":[]}]}`:                                false,
		`{"results":[{"key":{"chunk_hash_hex":"a"},"placements":[{}]}]}`: false,
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
