// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"fmt"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/radixcache/w1"
)

// w1Load is W1 once for all benchmarks.
var w1Load = sync.OnceValue(func() *w1.Workload { return w1.New(20000) })

// w1Tree makes a tree with all of W1.
func w1Tree(limit int64) (*Tree, []Upstream) {
	t := New(limit)
	ids := make([]Upstream, w1.Upstreams)
	for i := range ids {
		ids[i] = t.Register(fmt.Sprint("pod-", i))
	}
	w := w1Load()
	for _, b := range w.Turns {
		t.Insert(ids[b.Upstream], w.Conversations[b.Conversation].Hashes[:b.Blocks], w1.BlockTokens)
	}
	return t, ids
}

func BenchmarkLookup(b *testing.B) {
	for _, limit := range []int64{1 << 30, 20_000_000} {
		t, _ := w1Tree(limit)
		for kind, name := range []string{w1.Continued: "continued", w1.KnownSystem: "new on a known system prompt", w1.Unknown: "unknown"} {
			var queries []w1.Query
			for _, q := range w1Load().Queries(50000, 1) {
				if q.Kind == kind {
					queries = append(queries, q)
				}
			}
			b.Run(fmt.Sprintf("%d MB/%s", limit/1e6, name), func(b *testing.B) {
				b.ReportAllocs()
				var dst []Match
				i := 0
				for b.Loop() {
					dst = t.Lookup(queries[i%len(queries)].Hashes, dst[:0])
					i++
				}
			})
		}
	}
}

func BenchmarkInsert(b *testing.B) {
	w := w1Load()
	for b.Loop() {
		w1Tree(1 << 30)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(w.BlocksRecorded), "ns/block")
}

func BenchmarkRemove(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		t, ids := w1Tree(1 << 30)
		b.StartTimer()
		t.Unregister(ids[7])
	}
}

// BenchmarkEvents records W1 as engines report it, each with its own keys. It prints
// the bytes for each pair of a block and an upstream.
func BenchmarkEvents(b *testing.B) {
	w := w1.New(2000)
	var s Stats
	for b.Loop() {
		t := New(1 << 30)
		var keys []uint64
		for _, turn := range w.Turns {
			up := t.Register(fmt.Sprint("pod-", turn.Upstream))
			chain := w.Conversations[turn.Conversation].Hashes[:turn.Blocks]
			keys = keys[:0]
			for _, h := range chain {
				keys = append(keys, h^uint64(turn.Upstream)<<56)
			}
			from := 0 // an engine reports new blocks only
			for from < len(chain) {
				if _, ok := t.BlockByKey(up, keys[from]); !ok {
					break
				}
				from++
			}
			e := StoredBlocks{Root: from == 0, Keys: keys[from:], Blocks: chain[from:], Weight: w1.BlockTokens}
			if from > 0 {
				e.Parent = keys[from-1]
			}
			if !t.Stored(up, e) {
				b.Fatal("not stored")
			}
		}
		s = t.Stats()
	}
	b.ReportMetric(float64(s.Bytes)/float64(s.Pairs), "B/pair")
}
