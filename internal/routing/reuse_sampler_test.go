// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"math/rand/v2"
	"testing"
)

// lru is the golden model of a cache: blocks, the latest used last.
type lru struct{ blocks []uint64 }

// use touches a chain from its end to its start, as engines free it, and
// returns the number of distinct blocks used since each was, -1 for never.
func (l *lru) use(chain []uint64) (depths []int) {
	for _, h := range chain {
		depth := -1
		for i, b := range l.blocks {
			if b == h {
				depth = len(l.blocks) - 1 - i
			}
		}
		depths = append(depths, depth)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		kept := l.blocks[:0]
		for _, b := range l.blocks {
			if b != chain[i] {
				kept = append(kept, b)
			}
		}
		l.blocks = append(kept, chain[i])
	}
	return depths
}

func TestReuseAgainstGoldenModel(t *testing.T) {
	for seed := range seeds(50) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		var u reuseSampler
		var slow lru
		for step := range 60 {
			// At most 8 blocks a prompt and 256 in all: every block is followed.
			text := make([]byte, 1+rnd.IntN(6))
			for i := range text {
				text[i] = "abc"[rnd.IntN(2+step%2)]
			}
			chain := chainOf(string(text))
			got := u.use(chain, 10, 0, nil)
			for i, want := range slow.use(chain) {
				if want < 0 {
					continue
				}
				// The blocks of one prompt are used together: where one of them
				// is in the order among themselves is not known.
				if len(got) == 0 || int(got[0].block) != i {
					t.Fatalf("seed %d step %d: no depth for block %d: %v", seed, step, i, got)
				}
				if off := int64(want)*10 - got[0].tokens; off < 0 || off > 6*10 {
					t.Fatalf("seed %d step %d: block %d is %d tokens deep, want %d", seed, step, i, got[0].tokens, want*10)
				}
				got = got[1:]
			}
			if len(got) > 0 {
				t.Fatalf("seed %d: depths of blocks never used: %v", seed, got)
			}
		}
	}
}

func TestReuseSamplesLargeCaches(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 9))
	var u reuseSampler
	const live, blocks = 400, 100
	const capacity = 64 * live * blocks
	sessions := make([][]uint64, live)
	for i := range sessions {
		sessions[i] = make([]uint64, blocks)
		for k := range sessions[i] {
			sessions[i][k] = rnd.Uint64()
		}
		u.use(sessions[i], 64, capacity, nil)
	}
	var sum, n float64
	for i := range sessions { // each was last used live-1 prompts ago
		for _, d := range u.use(sessions[i], 64, capacity, nil) {
			sum += float64(d.tokens)
			n++
		}
	}
	want := float64(64 * (live - 1) * blocks)
	if n < 50 || math.Abs(sum/n-want) > 0.15*want {
		t.Errorf("%v blocks followed, mean depth %.0f, want about %.0f", n, sum/n, want)
	}
	if len(u.sampled) > maxSampled {
		t.Errorf("%d blocks followed", len(u.sampled))
	}
}

func TestReuseStaysBounded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 9))
	var u reuseSampler
	for range 3000 {
		chain := make([]uint64, rnd.IntN(400))
		for k := range chain {
			chain[k] = rnd.Uint64() << (rnd.IntN(2) * 40) // many end in zeros
		}
		if got := u.use(chain, 64, int64(rnd.IntN(2)*100_000), nil); len(got) > sampledPerPrompt || len(u.sampled) > maxSampled {
			t.Fatalf("%d depths, %d followed", len(got), len(u.sampled))
		}
	}
}
