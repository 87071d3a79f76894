// SPDX-License-Identifier: Apache-2.0

package routing

import "slices"

const (
	// followedBlocks is how many blocks are followed on an upstream: enough to
	// know depths to about a tenth.
	followedBlocks = 256
	// followedPerPrompt bounds how many of one prompt are.
	followedPerPrompt = 8
	// followedCapacities is how much history is kept, in capacities: what was
	// last used longer ago is gone in any case.
	followedCapacities = 4
)

// reuse measures how long ago, in tokens, blocks of a prompt were last used on
// one upstream. Its depth, the number of distinct tokens used there since, is
// what decides in a least-recently-used cache whether a block is still there:
// it is when the depth is below the capacity.
//
// Only blocks whose hash ends in shift zero bits are followed, each for all
// those that are not (spatial sampling: Waldspurger et al., "Efficient MRC
// Construction with SHARDS", FAST 2015). The zero value is empty.
type reuse struct {
	followed []followed
	shift    uint
	clock    uint64
}

type followed struct {
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
func (u *reuse) use(chain []uint64, perBlock int, capacity int64, dst []depth) []depth {
	u.clock++
	picked := 0
	for i, h := range chain {
		if h&u.mask() != 0 {
			continue
		}
		if picked++; picked > followedPerPrompt {
			u.thin() // there are more such long prompts to come
			return dst
		}
		k := slices.IndexFunc(u.followed, func(f followed) bool { return f.hash == h })
		if k < 0 {
			u.follow(h, perBlock, capacity)
			continue
		}
		if n := u.usedSince(u.followed[k].used); u.followed[k].used < u.clock {
			dst = append(dst, depth{int32(i), int64(n) * int64(perBlock) << u.shift})
		}
		u.followed[k].used = u.clock
	}
	return dst
}

func (u *reuse) mask() uint64 { return 1<<u.shift - 1 }

// usedSince counts what was used after a time, but for the prompt under way.
func (u *reuse) usedSince(used uint64) (n int) {
	for _, f := range u.followed {
		if f.used > used && f.used < u.clock {
			n++
		}
	}
	return n
}

// follow enters a block, making room for it.
func (u *reuse) follow(hash uint64, perBlock int, capacity int64) {
	if len(u.followed) >= followedBlocks {
		covered := int64(followedBlocks) * int64(perBlock) << u.shift
		if capacity > 0 && covered >= followedCapacities*capacity {
			oldest := slices.MinFunc(u.followed, func(a, b followed) int { return int(int64(a.used - b.used)) })
			u.followed = slices.DeleteFunc(u.followed, func(f followed) bool { return f.used == oldest.used })
		} else if u.thin(); hash&u.mask() != 0 || len(u.followed) >= followedBlocks {
			return
		}
	}
	u.followed = append(u.followed, followed{hash, u.clock})
}

// thin goes over to following half as many blocks, to see twice as far.
func (u *reuse) thin() {
	u.shift = min(u.shift+1, 48)
	u.followed = slices.DeleteFunc(u.followed, func(f followed) bool { return f.hash&u.mask() != 0 })
}
