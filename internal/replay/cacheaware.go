// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"time"
)

// The command line's defaults of SMG's cache_aware.
const (
	smgThreshold   = 0.3
	smgAbsolute    = 64
	smgRelative    = 1.5
	smgTreeTokens  = 1 << 26 // characters or tokens a worker
	smgCharsAToken = 4
)

// cacheAware is the cache_aware policy of SMG (formerly sgl-router) over HTTP.
// While the requests in flight are balanced, it picks the worker whose tree holds
// most of the prompt, if that is more than the threshold; otherwise the least
// loaded worker.
type cacheAware struct {
	noFeedback
	inFlight    []int
	blockTokens int
	trees       []*index
	rnd         *rand.Rand
}

func newCacheAware(w *simulation) policy {
	limit := smgTreeTokens / smgCharsAToken / w.blockTokens
	return &cacheAware{
		inFlight:    w.inFlight,
		blockTokens: w.blockTokens,
		trees:       newIndexes(len(w.nodes), limit),
		rnd:         w.rnd,
	}
}

func (p *cacheAware) pick(j *job, _ time.Duration) int {
	node := p.chooseNode(j)
	p.trees[node].add(j.Chain)
	return node
}

func (p *cacheAware) chooseNode(j *job) int {
	lowest, highest := p.inFlight[0], p.inFlight[0]
	for _, n := range p.inFlight {
		lowest, highest = min(lowest, n), max(highest, n)
	}
	load := func(i int) float64 { return float64(p.inFlight[i]) }
	if highest-lowest > smgAbsolute && float64(highest) > smgRelative*float64(lowest) {
		return least(len(p.inFlight), p.rnd, load)
	}
	best, longest := 0, -1
	for i, tree := range p.trees {
		if n := tree.match(j.Chain); n > longest || n == longest && p.inFlight[i] < p.inFlight[best] {
			best, longest = i, n
		}
	}
	if float64(longest*p.blockTokens)/float64(j.Tokens) > smgThreshold {
		return best
	}
	return least(len(p.inFlight), p.rnd, load)
}
