// SPDX-License-Identifier: Apache-2.0

package routing

import "slices"

const (
	// followedBlocks is how many blocks are followed on an upstream: enough to
	// know depths to about a tenth.
	maxSampled = 256
	// followedPerPrompt bounds how many of one prompt are.
	sampledPerPrompt = 8
	// followedCapacities is how much history is kept, in capacities: what was
	// last used longer ago is gone in any case.
	sampledCapacities = 4
)

// reuse measures how long ago, in tokens, blocks of a prompt were last used on
// one upstream. Its depth, the number of distinct tokens used there since, is
// what decides in a least-recently-used cache whether a block is still there:
// it is when the depth is below the capacity.
//
// Only blocks whose hash ends in shift zero bits are followed, each for all
// those that are not (spatial sampling: Waldspurger et al., "Efficient MRC
// Construction with SHARDS", FAST 2015). The zero value is empty.
type reuseSampler struct {
	sampled []sampledBlock
	shift   uint
	clock   uint64
}

type sampledBlock struct {
	hash uint64
	used uint64 // the clock when it was last
}

// depth says that a block of a prompt was last used that many tokens ago.
type depth struct {
	block  int32 // index in the chain
	tokens int64
}

// use notes that a prompt is sent to the upstream and appends the depths of
// those of its blocks that were followed before. Depths do not fall along a
// chain: using a block uses all before it. capacity is the upstream's, as far
// as known, or 0.
func (u *reuseSampler) use(chain []uint64, perBlock int, capacity int64, dst []depth) []depth {
	u.clock++
	picked := 0
	for i, h := range chain {
		if h&u.mask() != 0 {
			continue
		}
		if picked++; picked > sampledPerPrompt {
			u.halve() // there are more such long prompts to come
			return dst
		}
		k := slices.IndexFunc(u.sampled, func(f sampledBlock) bool { return f.hash == h })
		if k < 0 {
			u.sample(h, perBlock, capacity)
			continue
		}
		if n := u.usedSince(u.sampled[k].used); u.sampled[k].used < u.clock {
			dst = append(dst, depth{int32(i), int64(n) * int64(perBlock) << u.shift})
		}
		u.sampled[k].used = u.clock
	}
	return dst
}

func (u *reuseSampler) mask() uint64 { return 1<<u.shift - 1 }

// usedSince counts what was used after a time, but for the prompt under way.
func (u *reuseSampler) usedSince(used uint64) (n int) {
	for _, f := range u.sampled {
		if f.used > used && f.used < u.clock {
			n++
		}
	}
	return n
}

// follow enters a block, making room for it.
func (u *reuseSampler) sample(hash uint64, perBlock int, capacity int64) {
	if len(u.sampled) >= maxSampled {
		covered := int64(maxSampled) * int64(perBlock) << u.shift
		if capacity > 0 && covered >= sampledCapacities*capacity {
			oldest := slices.MinFunc(u.sampled, func(a, b sampledBlock) int { return int(int64(a.used - b.used)) })
			u.sampled = slices.DeleteFunc(u.sampled, func(f sampledBlock) bool { return f.used == oldest.used })
		} else if u.halve(); hash&u.mask() != 0 || len(u.sampled) >= maxSampled {
			return
		}
	}
	u.sampled = append(u.sampled, sampledBlock{hash, u.clock})
}

// thin goes over to following half as many blocks, to see twice as far.
func (u *reuseSampler) halve() {
	u.shift = min(u.shift+1, 48)
	u.sampled = slices.DeleteFunc(u.sampled, func(f sampledBlock) bool { return f.hash&u.mask() != 0 })
}
