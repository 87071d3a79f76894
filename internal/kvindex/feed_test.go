// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// modelFeed is the golden model: for each path of blocks, written as a string of their
// letters after the adapter's, the number of copies in each tier, and the times at which
// those that expire were stored.
type modelFeed struct {
	copies  map[string]*[kvevents.NumTiers]int
	stored  []storing
	removes [kvevents.NumTiers]bool
}

type storing struct {
	path string
	tier kvevents.Tier
	at   int64
}

func newModelFeed() *modelFeed { return &modelFeed{copies: map[string]*[kvevents.NumTiers]int{}} }

func (m *modelFeed) has(path string) bool {
	c := m.copies[path]
	return c != nil && *c != [kvevents.NumTiers]int{}
}

// store counts the blocks of an event. One that starts with a first block that is
// there may only repeat what the GPU has.
func (m *modelFeed) store(path string, from int, tier kvevents.Tier, now int64) {
	repeats := from == 0 && tier == kvevents.GPU && m.has(path[:2])
	for i := from; i < len(path)-1; i++ {
		block := path[:i+2]
		if m.copies[block] == nil {
			m.copies[block] = new([kvevents.NumTiers]int)
		}
		if !repeats || m.copies[block][tier] == 0 {
			m.copies[block][tier]++
		}
		m.wait(block, tier, now)
	}
}

func (m *modelFeed) wait(path string, tier kvevents.Tier, now int64) {
	if tier != kvevents.GPU && !m.removes[tier] {
		m.stored = append(m.stored, storing{path, tier, now})
	}
}

func (m *modelFeed) take(path string, tier kvevents.Tier) {
	if c := m.copies[path]; c != nil && c[tier] > 0 {
		c[tier]--
	}
}

func (m *modelFeed) remove(tier kvevents.Tier) {
	if tier == kvevents.GPU || m.removes[tier] {
		return
	}
	m.removes[tier] = true
	m.stored = slices.DeleteFunc(m.stored, func(s storing) bool { return s.tier == tier })
}

func (m *modelFeed) expire(now int64) {
	m.stored = slices.DeleteFunc(m.stored, func(s storing) bool {
		if s.at+600 > now {
			return false
		}
		m.take(s.path, s.tier)
		return true
	})
}

func (m *modelFeed) whole(path string, skip int) (n int, tiers [kvevents.NumTiers]int32) {
	for i := skip + 1; i <= len(path) && m.has(path[:i]); i++ {
		n++
		c := m.copies[path[:i]]
		switch {
		case c[0] > 0:
			tiers[0]++
		case c[1] > 0:
			tiers[1]++
		default:
			tiers[2]++
		}
	}
	return n, tiers
}

const testBlock = 4

// tokensOf returns the tokens of the blocks of a path: their letters.
func tokensOf(path string) (tokens []uint32) {
	for _, c := range []byte(path) {
		for i := range testBlock {
			tokens = append(tokens, uint32(c)<<8|uint32(i))
		}
	}
	return tokens
}

// nameOf returns the engine's hash of a block.
func nameOf(path string) uint64 { return xxhash.Sum64String("engine" + path) }

// feeder drives a feed and its model with the same events.
type feeder struct {
	x    *Index
	tree *radixcache.Tree
	f    *Feed
	m    *modelFeed
	now  int64
}

func newFeeder(whole int64) *feeder {
	f := &feeder{m: newModelFeed(), now: 1_000_000}
	f.x, f.tree = newIndex(whole)
	f.f = f.x.Feed("engine")
	f.x.Expire(time.Unix(f.now, 0))
	return f
}

// adapters are in front of a path, one character each.
var adapters = map[byte]string{'-': "", '+': "french"}

func randomBlocks(r *rand.Rand) string {
	b := make([]byte, 1+r.IntN(12))
	if r.IntN(10) == 0 {
		b = make([]byte, 60+r.IntN(100))
	}
	for i := range b {
		b[i] = "aaaaaab"[r.IntN(7)]
	}
	return string("-+"[r.IntN(8)/7]) + string(b)
}

// event returns the event that stores the blocks of a path after the first from.
func event(path string, from int, tier kvevents.Tier) *kvevents.Event {
	e := &kvevents.Event{Kind: kvevents.Stored, Tier: tier, Tokens: tokensOf(path[1+from:]), BlockSize: testBlock, LoRA: []byte(adapters[path[0]])}
	for i := from; i < len(path)-1; i++ {
		e.Hashes = append(e.Hashes, nameOf(path[:i+2]))
	}
	if e.Root = from == 0; !e.Root {
		e.Parent = nameOf(path[:from+1])
	}
	return e
}

func (f *feeder) step(r *rand.Rand) error {
	path := randomBlocks(r)
	tier := kvevents.Tier(r.IntN(3))
	if r.IntN(2) == 0 {
		tier = kvevents.GPU
	}
	switch op := r.IntN(40); {
	case op < 16:
		from := 0
		for i := 1; i < len(path)-1; i++ {
			if f.m.has(path[:i+1]) && r.IntN(3) > 0 {
				from = i
			}
		}
		if r.IntN(20) == 0 {
			from = r.IntN(len(path) - 1) // perhaps unknown
		}
		want := from == 0 || f.m.has(path[:from+1])
		if got := f.f.Apply(event(path, from, tier)); got != want {
			return fmt.Errorf("stored %s from %d: %v, want %v", path, from, got, want)
		}
		if want {
			f.m.store(path, from, tier, f.now)
		}
	case op < 20: // without tokens
		e := event(path, 0, tier)
		e.Tokens, e.BlockSize, e.Root = nil, 0, false
		if !f.f.Apply(e) {
			return fmt.Errorf("copy of %s was not used", path)
		}
		some := false
		for i := range len(path) - 1 {
			some = some || f.m.has(path[:i+2])
		}
		for i := range len(path) - 1 {
			if f.m.has(path[:i+2]) {
				f.m.copies[path[:i+2]][tier]++
			}
			if some {
				f.m.wait(path[:i+2], tier, f.now)
			}
		}
	case op < 34:
		if tier != kvevents.GPU && r.IntN(4) > 0 {
			return nil // most publishers without removals
		}
		e := &kvevents.Event{Kind: kvevents.Removed, Tier: tier}
		for i := range len(path) - 1 {
			if r.IntN(3) == 0 {
				e.Hashes = append(e.Hashes, nameOf(path[:i+2]))
			}
		}
		f.f.Apply(e)
		f.m.remove(tier)
		for i := range len(path) - 1 {
			if slices.Contains(e.Hashes, nameOf(path[:i+2])) {
				f.m.take(path[:i+2], tier)
			}
		}
	case op < 37:
		f.now += int64(r.IntN(400))
		f.x.Expire(time.Unix(f.now, 0))
		f.m.expire(f.now)
	case op == 37:
		f.wrong(r, path, tier)
	case op == 38 && r.IntN(4) == 0:
		f.f.Clear()
		f.m = newModelFeed()
		f.f.Apply(event("-a", 0, kvevents.GPU)) // selects the group
		f.m.store("-a", 0, kvevents.GPU, f.now)
	}
	return nil
}

// wrong applies an event that must change nothing.
func (f *feeder) wrong(r *rand.Rand, path string, tier kvevents.Tier) {
	e := event(path, 0, tier)
	switch r.IntN(6) {
	case 0:
		e.Attention = kvevents.Window
	case 1:
		e.Group = 1
	case 2:
		e.Tokens = e.Tokens[1:]
	case 3:
		e.BlockSize = 0
	case 4:
		e.Kind, e.Group, e.Tokens = kvevents.Removed, 2, nil
	case 5:
		e.Tier = 3
	}
	f.f.Apply(e)
}

// check compares the feed with the model.
func (f *feeder) check(path string, exact bool) error {
	s := f.x.Space(TokenKey{Adapter: adapters[path[0]], BlockTokens: testBlock})
	chain := f.x.Chain(s, tokensOf(path[1:]), nil)
	want, tiers := f.m.whole(path, 1)
	got := 0
	for _, m := range f.tree.Lookup(chain, nil) {
		if m.Upstream == f.f.ID() {
			got = int(m.Blocks)
		}
	}
	if got > want || exact && got < want {
		return fmt.Errorf("%d blocks of %s, want %d", got, path, want)
	}
	if got := f.tree.BlocksByTier(f.f.ID(), chain); exact && got != tiers {
		return fmt.Errorf("%s is in tiers %v, want %v", path, got, tiers)
	}
	return nil
}

func TestFeedAgainstModel(t *testing.T) {
	for seed := range seeds(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := newFeeder(64 << 20)
		f.f.Apply(event("-a", 0, kvevents.GPU))
		f.m.store("-a", 0, kvevents.GPU, f.now)
		for step := range 300 {
			if err := f.step(r); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if err := f.check(randomBlocks(r), true); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if step%20 == 0 {
				if err := f.x.validate(); err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
			}
		}
		if f.f.Partial() || f.f.Stats().Expiring != len(f.m.stored) {
			t.Fatalf("seed %d: partial %v, %d waiting, want %d", seed, f.f.Partial(), f.f.Stats().Expiring, len(f.m.stored))
		}
	}
}

// At the memory limit a feed has no more blocks than the model, and is partial when it
// has fewer.
func TestFeedAtTheCeiling(t *testing.T) {
	partial, all := 0, max(4, seeds(20))
	for seed := range all {
		r := rand.New(rand.NewPCG(seed, 2))
		f := newFeeder(int64(250+r.IntN(300)) << 10)
		other := f.tree.Register("other")
		f.f.Apply(event("-a", 0, kvevents.GPU))
		f.m.store("-a", 0, kvevents.GPU, f.now)
		for step := range 600 {
			path := "-" + strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(30)) + randomBlocks(r)[1:]
			switch tier := kvevents.Tier(r.IntN(3)); r.IntN(8) {
			case 0:
				chain := make([]uint64, 200)
				for i := range chain {
					chain[i] = r.Uint64()
				}
				f.tree.Insert(other, chain, 16)
			case 1, 2:
				n := r.IntN(len(path) - 1)
				f.f.Apply(&kvevents.Event{Kind: kvevents.Removed, Hashes: []uint64{nameOf(path[:n+2])}})
				f.m.take(path[:n+2], kvevents.GPU)
			case 3:
				f.now += 100
				f.x.Expire(time.Unix(f.now, 0))
				f.m.expire(f.now)
			default:
				f.f.Apply(event(path, 0, tier))
				f.m.store(path, 0, tier, f.now)
			}
			if err := f.check(path, !f.f.Partial()); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if err := f.x.validate(); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
		}
		if f.f.Partial() {
			partial++
			f.f.SetKnowledge(kvevents.Complete)
			if f.f.Knowledge() != kvevents.Partial {
				t.Fatal("a partial feed is complete")
			}
			f.f.Clear()
			if f.f.Knowledge() != kvevents.Complete {
				t.Fatal("partial, after a new start")
			}
		}
	}
	if partial < int(all)/2 {
		t.Fatalf("the limit was reached in %d cases only", partial)
	}
}

// vLLM publishes reused blocks again for a request with kv_cache_report_mode "full",
// and removes each block once. A block that was computed twice is removed twice.
func TestReusedBlocksAreNoCopies(t *testing.T) {
	f := newFeeder(64 << 20)
	removed := func(path string) {
		for i := len(path) - 1; i > 0; i-- { // leaves first
			f.f.Apply(&kvevents.Event{Kind: kvevents.Removed, Hashes: []uint64{nameOf(path[:i+1])}})
		}
	}
	holds := func(path string, want int) {
		t.Helper()
		s := f.x.Space(TokenKey{BlockTokens: testBlock})
		got := f.tree.Lookup(f.x.Chain(s, tokensOf(path[1:]), nil), nil)
		if want == 0 && len(got) != 0 || want > 0 && (len(got) != 1 || int(got[0].Blocks) != want) {
			t.Fatalf("%v of %s, want %d", got, path, want)
		}
	}
	f.f.Apply(event("-abcd", 0, kvevents.GPU))
	for range 400 {
		f.f.Apply(event("-abc", 0, kvevents.GPU))  // reused
		f.f.Apply(event("-abcd", 3, kvevents.GPU)) // the last block is computed again
		f.f.Apply(&kvevents.Event{Kind: kvevents.Removed, Hashes: []uint64{nameOf("-abcd")}})
	}
	f.f.Apply(event("-abcd", 3, kvevents.GPU))
	f.f.Apply(event("-abcef", 3, kvevents.GPU))
	removed("-abcd")
	holds("-abcd", 0)
	f.f.Apply(event("-abcef", 0, kvevents.GPU)) // its first block was gone: all of it is computed
	holds("-abcef", 5)
	holds("-abcd", 4) // one of two copies
	removed("-abcef")
	f.f.Apply(event("-abc", 0, kvevents.GPU))
	holds("-abcef", 5) // the other copies of its last blocks
	removed("-abcef")
	holds("-abcef", 0)
}

// Blocks that the tree evicts for others make a feed partial. Salt and adapter make
// other blocks of the same tokens.
func TestFeedPartialAndSpaces(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 8))
	x, tree := newIndex(2 << 20)
	f := x.Feed("a")
	tokens := numbers[uint32](r, 160)
	e := kvevents.Event{Kind: kvevents.Stored, Root: true, Hashes: numbers[uint64](r, 10), Tokens: tokens, BlockSize: 16,
		Extra: make([]uint64, 10), LoRA: []byte("french")}
	e.Extra[0] = kvevents.SaltExtra("pepper")
	if !f.Apply(&e) || f.BlockTokens() != 16 || f.Tiered() {
		t.Fatal("not applied")
	}
	for _, k := range []TokenKey{{Adapter: "french", Salt: e.Extra[0]}, {Adapter: "french"}, {Salt: e.Extra[0]}, {}} {
		k.BlockTokens = 16
		want := 0
		if k.Adapter != "" && k.Salt != 0 {
			want = 1
		}
		if got := tree.Lookup(x.Chain(x.Space(k), tokens, nil), nil); len(got) != want || want == 1 && got[0] != (radixcache.Match{Upstream: f.ID(), Blocks: 10}) {
			t.Fatalf("%+v: %v", k, got)
		}
	}
	if f.SetKnowledge(kvevents.Complete); f.Partial() || f.Knowledge() != kvevents.Complete {
		t.Fatal("partial although there is room")
	}
	other := tree.Register("other")
	for range 500 {
		tree.Insert(other, numbers[uint64](r, 500), 16)
	}
	if !f.Partial() || f.Knowledge() != kvevents.Partial {
		t.Fatal("evicted, but not partial")
	}
	x.Drop(f)
	if f.Apply(&e) || f.Knowledge() != kvevents.Unknown || x.Stats().Feeds != 0 {
		t.Fatal("a dropped feed is still in use")
	}
}
