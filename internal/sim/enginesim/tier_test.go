// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"strings"
	"testing"
	"time"
)

// shelf is an external tier of 20-token chunks with a set load time. Its chain
// names chunks by their first token.
type shelf struct {
	held   map[uint64]bool
	takes  time.Duration
	stored []int // chunks of each call
	asked  [][2]int
}

func (x *shelf) Attach(string, func() time.Duration) {}
func (x *shelf) ChunkTokens() int                    { return 20 }

func (x *shelf) Chain(_, _ string, tokens []uint32) (chain []uint64) {
	for i := 0; i+20 <= len(tokens); i += 20 {
		chain = append(chain, uint64(tokens[i]))
	}
	return chain
}

func (x *shelf) Load(at time.Duration, chain []uint64, from int) (held int, ready time.Duration) {
	x.asked = append(x.asked, [2]int{len(chain), from})
	for held < len(chain) && x.held[chain[held]] {
		held++
	}
	return held, at + x.takes
}

func (x *shelf) Store(_ time.Duration, chain []uint64) {
	x.stored = append(x.stored, len(chain))
	for _, c := range chain {
		x.held[c] = true
	}
}

// tiered returns a job whose tokens are numbered like its blocks.
func tiered(prompt, output int, first uint64) *Job {
	j := job(prompt, output, first)
	for i := range prompt + output {
		j.Tokens = append(j.Tokens, uint32(first)*1000+uint32(i))
	}
	return j
}

func newTiered(t *testing.T, blocks int) (*Scheduler, *shelf) {
	x := &shelf{held: make(map[uint64]bool), takes: 30 * ms}
	return newScheduler(t, func(c *Config) { c.External, c.CacheBlocks = x, blocks }), x
}

// TestExternalTier checks that evicted blocks are loaded instead of computed.
func TestExternalTier(t *testing.T) {
	s, x := newTiered(t, 30)
	first := tiered(250, 1, 1)
	s.Submit(first, 0)
	drain(t, s)
	expect(t, "cold", first.FirstToken, 250*ms)
	if first.Cached != 0 || len(x.stored) != 2 || x.stored[0] != 12 {
		t.Errorf("cached %d, stored %v", first.Cached, x.stored)
	}
	s.Submit(tiered(290, 1, 1000), 300*ms) // takes all of the GPU
	drain(t, s)
	again := tiered(250, 1, 1)
	s.Submit(again, 1000*ms)
	drain(t, s)
	// 12 chunks are 240 tokens: 30 ms to load, 10 more tokens to compute.
	expect(t, "loaded", again.FirstToken, 1040*ms)
	if again.Cached != 240 {
		t.Errorf("cached %d, want 240", again.Cached)
	}
	// The GPU holds them now: nothing is loaded, and 10 tokens are computed.
	warm := tiered(250, 1, 1)
	s.Submit(warm, 2000*ms)
	drain(t, s)
	expect(t, "warm", warm.FirstToken, 2010*ms)
	if warm.Cached != 240 {
		t.Errorf("cached %d, want 240", warm.Cached)
	}
	if last := x.asked[len(x.asked)-1]; last != [2]int{12, 12} {
		t.Errorf("asked for %v", last)
	}
	if s.externalQueries != 250+290+250+10 || s.externalHits != 240 {
		t.Errorf("looked up %d, found %d", s.externalQueries, s.externalHits)
	}
}

// TestLastTokenIsComputed even if the tier holds the whole prompt.
func TestLastTokenIsComputed(t *testing.T) {
	s, x := newTiered(t, 30)
	a := tiered(200, 1, 1)
	for _, c := range x.Chain("", "", a.Tokens) {
		x.held[c] = true
	}
	s.Submit(a, 0)
	drain(t, s)
	expect(t, "first token", a.FirstToken, 40*ms) // 190 tokens are loaded
	if a.Cached != 190 {
		t.Errorf("cached %d", a.Cached)
	}
}

// TestOthersGoOnDuringALoad checks that a load delays neither running nor new jobs.
func TestOthersGoOnDuringALoad(t *testing.T) {
	s, x := newTiered(t, 100)
	x.takes = 500 * ms
	a, b := tiered(200, 1, 1), tiered(100, 1, 1000)
	for _, c := range x.Chain("", "", a.Tokens) {
		x.held[c] = true
	}
	s.Submit(a, 0)
	s.Advance(50 * ms)
	s.Submit(b, 50*ms)
	drain(t, s)
	if late := b.FirstToken - 150*ms; late < 0 || late > idlePoll {
		t.Errorf("b's first token at %v, want 150ms", b.FirstToken)
	}
	expect(t, "a's first token", a.FirstToken, 510*ms)
}

func TestCancelDuringALoad(t *testing.T) {
	s, x := newTiered(t, 100)
	x.takes = time.Hour
	a := tiered(200, 1, 1)
	for _, c := range x.Chain("", "", a.Tokens) {
		x.held[c] = true
	}
	s.Submit(a, 0)
	s.Advance(50 * ms)
	s.Cancel(a, 60*ms)
	drain(t, s)
	if a.Produced != 0 || !a.Cancelled {
		t.Errorf("job %+v", a)
	}
}

func TestExternalMetrics(t *testing.T) {
	x := &shelf{held: make(map[uint64]bool)}
	for _, c := range []struct {
		tier External
		want bool
	}{{nil, false}, {x, true}} {
		e := start(t, Config{External: c.tier, Speed: 1000})
		_, page := get(t, e, "/metrics")
		if got := strings.Contains(page, "vllm:external_prefix_cache_hits_total{"); got != c.want {
			t.Errorf("external metrics: %v, want %v", got, c.want)
		}
	}
}
