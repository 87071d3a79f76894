// SPDX-License-Identifier: Apache-2.0

package routing

import "slices"

const (
	// maxSampled bounds the sampled blocks of an upstream: enough to know depths to
	// about a tenth.
	maxSampled = 256
	// sampledPerPrompt bounds those of one prompt.
	sampledPerPrompt = 8
	// sampledCapacities is the length of the history, in capacities: a block that was
	// last used longer ago is gone in any case.
	sampledCapacities = 4
	// wholeTokens behind a block, in the prompt that used it last, fill the engine's own
	// block around its end: few have more.
	wholeTokens = 128
)

// reuseSampler measures how long ago, in tokens, blocks of a prompt were last
// used on one upstream. That depth, the number of distinct tokens used there
// since, decides in a least-recently-used cache whether a block is still there:
// it is when the depth is below the capacity.
//
// Only blocks whose hash ends in shift zero bits are sampled, each for all the
// others (spatial sampling: Waldspurger et al., "Efficient MRC Construction with
// SHARDS", FAST 2015). The zero value is empty.
type reuseSampler struct {
	sampled []sampledBlock
	shift   uint
	clock   uint64
}

type sampledBlock struct {
	hash uint64
	used uint64 // the clock at its last use
	end  int32  // length of the chain that used it last
}

// depth is the number of tokens used on an upstream since a block of a prompt was.
type depth struct {
	block   int32 // index in the chain
	tokens  int64
	partial bool  // the engine may never have had it as a whole block of its own
	end     int32 // length of the chain that used it last
}

// use notes that a prompt is sent to the upstream and appends the depths of its
// blocks that were sampled before. Depths do not fall along a chain: using a block
// uses all before it. capacity is the upstream's, 0 if not known.
func (s *reuseSampler) use(chain []uint64, perBlock int, capacity int64, dst []depth) []depth {
	s.clock++
	picked := 0
	for i, h := range chain {
		if h&s.mask() != 0 {
			continue
		}
		if picked++; picked > sampledPerPrompt {
			s.halve() // there are more such long prompts to come
			return dst
		}
		k := slices.IndexFunc(s.sampled, func(f sampledBlock) bool { return f.hash == h })
		if k < 0 {
			s.sample(h, len(chain), perBlock, capacity)
			continue
		}
		if n := s.usedSince(s.sampled[k].used); s.sampled[k].used < s.clock {
			partial := (int(s.sampled[k].end)-1-i)*perBlock < wholeTokens
			dst = append(dst, depth{int32(i), int64(n) * int64(perBlock) << s.shift, partial, s.sampled[k].end})
		}
		s.sampled[k].used, s.sampled[k].end = s.clock, int32(len(chain))
	}
	return dst
}

func (s *reuseSampler) mask() uint64 { return 1<<s.shift - 1 }

// usedSince counts the blocks used after a time, without the prompt under way.
func (s *reuseSampler) usedSince(used uint64) (n int) {
	for _, f := range s.sampled {
		if f.used > used && f.used < s.clock {
			n++
		}
	}
	return n
}

// sample enters a block, making room for it.
func (s *reuseSampler) sample(hash uint64, end, perBlock int, capacity int64) {
	if len(s.sampled) >= maxSampled {
		covered := int64(maxSampled) * int64(perBlock) << s.shift
		if capacity > 0 && covered >= sampledCapacities*capacity {
			oldest := slices.MinFunc(s.sampled, func(a, b sampledBlock) int { return int(int64(a.used - b.used)) })
			s.sampled = slices.DeleteFunc(s.sampled, func(f sampledBlock) bool { return f.used == oldest.used })
		} else if s.halve(); hash&s.mask() != 0 || len(s.sampled) >= maxSampled {
			return
		}
	}
	s.sampled = append(s.sampled, sampledBlock{hash, s.clock, int32(end)})
}

// halve samples half as many blocks from now on, to look back twice as far.
func (s *reuseSampler) halve() {
	s.shift = min(s.shift+1, 48)
	s.sampled = slices.DeleteFunc(s.sampled, func(f sampledBlock) bool { return f.hash&s.mask() != 0 })
}
