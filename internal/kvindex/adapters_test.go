// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"fmt"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// A model counts as an adapter once an engine has blocks for an adapter of its name.
func TestAdapter(t *testing.T) {
	tree := radixcache.New(4 << 20)
	x := New(tree, nil)
	if x.Adapter("sql") != "" {
		t.Fatal("an adapter that no event has named")
	}
	f := x.Feed("a")
	tokens := []uint32{1, 2, 3, 4}
	f.Apply(&kvevents.Event{Kind: kvevents.Stored, Root: true, Hashes: []uint64{9}, Tokens: tokens, BlockSize: 4, LoRA: []byte("sql")})
	if x.Adapter("sql") != "sql" || x.Adapter("other") != "" || x.Adapter("") != "" {
		t.Fatalf("adapters: %q %q %q", x.Adapter("sql"), x.Adapter("other"), x.Adapter(""))
	}
	for adapter, want := range map[string]int{"sql": 1, "": 0} {
		chain := x.Chain(x.Space(TokenKey{Adapter: adapter, BlockTokens: 4}), tokens, nil)
		if got := len(tree.Lookup(chain, nil)); got != want {
			t.Errorf("adapter %q: %d upstreams hold the prompt, want %d", adapter, got, want)
		}
	}
}

// The number of names is bounded, and many goroutines may note them.
func TestAdaptersAreBounded(t *testing.T) {
	var a adapterNames
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 64 {
				a.note(fmt.Appendf(nil, "adapter %d", g*16+i))
			}
		})
	}
	wg.Wait()
	if n := len(*a.known.Load()); n != 3*16+64 {
		t.Fatalf("%d adapters known, want %d", n, 3*16+64)
	}
	for i := range maxAdapters + 10 {
		a.note(fmt.Appendf(nil, "more %d", i))
	}
	if n := len(*a.known.Load()); n != maxAdapters {
		t.Fatalf("%d adapters known, want %d", n, maxAdapters)
	}
}
