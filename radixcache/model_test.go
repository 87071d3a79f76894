// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

// model is the slow and obvious reference: for each upstream the set of paths it
// holds. A path is the string of its block letters. With it are the copies that
// events reported, by tier.
type model struct {
	ups      map[Upstream]map[string]*[NumTiers]int
	prefixes map[string]bool // see blocks
}

// skipWithRace skips a long test of one goroutine. The shorter ones run with the race
// detector, because it checks the use of unsafe pointers too.
func skipWithRace(t *testing.T) {
	if raceEnabled {
		t.Skip("there is one goroutine")
	}
}

// seedsOf returns the number of seeds that a test runs with: fewer in short mode and
// with the race detector.
func seedsOf(full uint64) uint64 {
	if raceEnabled || testing.Short() {
		return max(full/10, 3)
	}
	return full
}

func newModel() *model {
	return &model{ups: map[Upstream]map[string]*[NumTiers]int{}, prefixes: map[string]bool{}}
}

// held returns the number of blocks of the path that up holds without a hole.
func (m *model) held(up Upstream, path string) (n int) {
	for n < len(path) && m.ups[up][path[:n+1]] != nil {
		n++
	}
	return n
}

func (m *model) insert(up Upstream, path string) (held int) {
	held = m.held(up, path)
	for i := 1; i <= len(path); i++ {
		if m.ups[up][path[:i]] == nil {
			m.ups[up][path[:i]] = new([NumTiers]int)
		}
	}
	return held
}

// reported tells whether up's engine reported the last block of the path.
func (m *model) reported(up Upstream, path string) bool {
	c := m.ups[up][path]
	return c != nil && *c != [NumTiers]int{}
}

func (m *model) stored(up Upstream, path string, from int, tier Tier, repeated bool) bool {
	if from > 0 && !m.reported(up, path[:from]) {
		return false
	}
	for i := from + 1; i <= len(path); i++ {
		if m.ups[up][path[:i]] == nil {
			m.ups[up][path[:i]] = new([NumTiers]int)
		}
		if c := m.ups[up][path[:i]]; !repeated || c[tier] == 0 {
			c[tier]++
		}
	}
	return true
}

func (m *model) singleCopies(up Upstream, path string, from int) {
	for i := from + 1; i <= len(path); i++ {
		if c := m.ups[up][path[:i]]; c != nil {
			c[GPU] = min(c[GPU], 1)
		}
	}
}

func (m *model) removed(up Upstream, path string, tier Tier) {
	if c := m.ups[up][path]; c != nil && c[tier] > 0 {
		if c[tier]--; *c == [NumTiers]int{} {
			delete(m.ups[up], path)
		}
	}
}

func (m *model) cut(up Upstream, path string, keep int) {
	if keep >= len(path) {
		return
	}
	for p := range m.ups[up] {
		if strings.HasPrefix(p, path[:keep+1]) {
			delete(m.ups[up], p)
		}
	}
}

func (m *model) lookup(path string) (out []Match) {
	for up := range m.ups {
		if n := m.held(up, path); n > 0 {
			out = append(out, Match{up, int32(n)})
		}
	}
	return sorted(out)
}

func (m *model) tiers(up Upstream, path string) (n [NumTiers]int32) {
	for i := range m.held(up, path) {
		switch c := m.ups[up][path[:i+1]]; {
		case *c == [NumTiers]int{} || c[GPU] > 0:
			n[GPU]++
		case c[CPU] > 0:
			n[CPU]++
		default:
			n[Disk]++
		}
	}
	return n
}

// blocks counts the paths that any upstream holds, and all their prefixes.
func (m *model) blocks() int {
	clear(m.prefixes)
	for _, set := range m.ups {
		for p := range set {
			for i := len(p); i > 0 && !m.prefixes[p[:i]]; i-- {
				m.prefixes[p[:i]] = true
			}
		}
	}
	return len(m.prefixes)
}

func sorted(ms []Match) []Match {
	slices.SortFunc(ms, func(a, b Match) int { return int(a.Upstream) - int(b.Upstream) })
	return ms
}

// chainOf hashes a path the way callers do: each element commits to all before it.
func chainOf(path string) []uint64 {
	out := make([]uint64, len(path))
	for i := range path {
		out[i] = xxhash.Sum64String(path[:i+1])
	}
	return out
}

// keysOf returns the engine's keys of the blocks of a path: small numbers, others
// for each upstream, the same for a second copy.
func keysOf(up Upstream, path string, from int) []uint64 {
	var out []uint64
	for i := from; i < len(path); i++ {
		out = append(out, (xxhash.Sum64String(path[:i+1])^uint64(up)*0x9E3779B97F4A7C15)>>20)
	}
	return out
}

// randomPath draws from few letters so that prefixes collide all the time.
func randomPath(r *rand.Rand, longest int) string {
	if r.IntN(4) == 0 {
		longest *= 8 // over several runs
	}
	b := make([]byte, 1+r.IntN(longest))
	for i := range b {
		b[i] = "aaaaab"[r.IntN(6)]
	}
	return string(b)
}

// present tells whether up holds a block, holes before it or not.
func (t *Tree) present(up Upstream, chain []uint64, i int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ref, pos := t.findClaim(t.upstreamOf(up), chain, i)
	return ref != 0 && t.claim(ref).present.Load()>>pos&1 == 1
}

// player drives a tree and its model with the same operations.
type player struct {
	tree *Tree
	m    *model
	ids  []Upstream
	now  time.Duration
}

func newPlayer(limit int64, upstreams int) *player {
	p := &player{tree: New(limit), m: newModel()}
	p.tree.clock = func() time.Duration { return p.now }
	for i := range upstreams {
		p.register(fmt.Sprint("node-", i))
	}
	return p
}

func (p *player) register(name string) {
	id := p.tree.Register(name)
	p.ids = append(p.ids, id)
	p.m.ups[id] = map[string]*[NumTiers]int{}
}

// step does operation op on both and compares what they return.
func (p *player) step(op, arg byte, up Upstream, path string) error {
	chain := chainOf(path)
	p.now += time.Duration(arg)
	switch op % 16 {
	default:
		if got, want := p.tree.Insert(up, chain, 16), p.m.insert(up, path); got != want {
			return fmt.Errorf("insert %d %s: held %d, want %d", up, path, got, want)
		}
	case 5, 6, 7:
		from := 0
		for i := 1; i < len(path); i++ {
			if p.m.reported(up, path[:i]) && int(arg)%3 > 0 {
				from = i
			}
		}
		if arg == 255 {
			from = len(path) / 2 // most likely not known
		}
		e := StoredBlocks{Root: from == 0, Keys: keysOf(up, path, from), Blocks: chain[from:], Weight: 16, Tier: Tier(arg % 3), Repeated: arg%5 == 0}
		if from > 0 {
			e.Parent = keysOf(up, path[:from], from-1)[0]
		}
		if got, want := p.tree.Stored(up, e), p.m.stored(up, path, from, e.Tier, e.Repeated); got != want {
			return fmt.Errorf("stored %d %s from %d: %v, want %v", up, path, from, got, want)
		}
	case 8, 9:
		var keys []uint64
		for i := range path {
			if (i+int(arg))%4 == 0 {
				keys = append(keys, keysOf(up, path[:i+1], i)[0])
				p.m.removed(up, path[:i+1], Tier(arg%3))
			}
		}
		p.tree.Removed(up, keys, Tier(arg%3))
	case 11:
		return p.copied(up, path, Tier(arg%3), int(arg))
	case 10:
		keep := int(arg) % (len(path) + 1)
		p.m.cut(up, path, keep)
		p.tree.Cut(up, chain, keep)
	case 12, 13:
		i := int(arg) % len(path)
		delete(p.m.ups[up], path[:i+1])
		p.tree.DropBlock(up, chain, i)
	case 14:
		if from := int(arg) % (len(path) + 1); arg%3 == 0 {
			p.m.singleCopies(up, path, from)
			p.tree.SingleCopies(up, chain, from)
		}
		if arg < 16 {
			p.m.ups[up] = map[string]*[NumTiers]int{}
			p.tree.Forget(up)
		}
	case 15:
		return p.trim(up, int64(arg)*16)
	}
	return nil
}

// copied reports a copy of some of the blocks of a path in another tier.
func (p *player) copied(up Upstream, path string, tier Tier, some int) error {
	var keys []uint64
	want := 0
	for i := range path {
		if (i+some)%3 == 0 {
			continue
		}
		keys = append(keys, keysOf(up, path[:i+1], i)[0])
		if p.m.reported(up, path[:i+1]) {
			p.m.ups[up][path[:i+1]][tier]++
			want++
		}
	}
	if got := p.tree.Copied(up, keys, tier); got != want {
		return fmt.Errorf("copied %d %s: %d known, want %d", up, path, got, want)
	}
	return nil
}

// trim leaves the choice of claims to the tree. It checks that the rest was there
// before and is no more than asked for.
func (p *player) trim(up Upstream, tokens int64) error {
	p.tree.Trim(up, tokens)
	p.follow(up)
	if n := len(p.m.ups[up]); int64(n)*16 > tokens {
		return fmt.Errorf("trim of %d to %d tokens left %d blocks", up, tokens, n)
	}
	return nil
}

// follow takes the blocks out of the model that the tree has dropped.
func (p *player) follow(up Upstream) {
	for path := range p.m.ups[up] {
		if !p.tree.present(up, chainOf(path), len(path)-1) {
			delete(p.m.ups[up], path)
		}
	}
}

// check compares the tree with the model and with itself.
func (p *player) check(path string) error {
	if err := p.tree.validate(); err != nil {
		return err
	}
	if got, want := sorted(p.tree.Lookup(chainOf(path), nil)), p.m.lookup(path); !slices.Equal(got, want) {
		return fmt.Errorf("lookup %s: %v, want %v", path, got, want)
	}
	for _, up := range p.ids {
		if got, want := p.tree.BlocksByTier(up, chainOf(path)), p.m.tiers(up, path); got != want {
			return fmt.Errorf("tiers of %d for %s: %v, want %v", up, path, got, want)
		}
	}
	if got, want := p.tree.Stats().Blocks, p.m.blocks(); got != want {
		return fmt.Errorf("%d blocks, want %d", got, want)
	}
	return nil
}

// smallStep is the most work between two yields where no run has many holders.
const smallStep = defaultWorkBudget + 1024

func TestAgainstModel(t *testing.T) {
	for seed := range seedsOf(120) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := newPlayer(1<<30, 1+int(seed%5))
		for step := range 200 {
			up, path := p.ids[r.IntN(len(p.ids))], randomPath(r, 24)
			op, arg := byte(r.IntN(16)), byte(r.IntN(256))
			if err := p.step(op, arg, up, path); err != nil {
				t.Fatalf("seed %d step %d op %d: %v", seed, step, op, err)
			}
			if err := p.check(randomPath(r, 30)); err != nil {
				t.Fatalf("seed %d step %d op %d arg %d %s: %v", seed, step, op, arg, path, err)
			}
		}
		if err := p.tree.checkWork(smallStep); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
