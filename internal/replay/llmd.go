// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"time"
)

// llm-d's approximate prefix index and the weights of its sample for precise
// prefix caching.
const (
	llmdIndexTokens  = 31250 * 64 // per pod; blocks have at least 64 tokens
	llmdPrefixWeight = 2
	llmdUsageWeight  = 1
	llmdQueueWeight  = 1
)

// llmd is the weighted score of llm-d's router: the share of the prompt that its
// index knows at a pod, the free share of the pod's KV cache, and the length of
// its queue relative to the others. The metrics are never late here.
type llmd struct {
	noFeedback
	nodes   []node
	indexes []*index
	rnd     *rand.Rand
}

func newLLMD(w *simulation) policy {
	return &llmd{
		nodes:   w.nodes,
		indexes: newIndexes(len(w.nodes), max(1, llmdIndexTokens/w.blockTokens)),
		rnd:     w.rnd,
	}
}

func (p *llmd) pick(j *job, _ time.Duration) int {
	shortest, longest := p.nodes[0].queued(), p.nodes[0].queued()
	for _, n := range p.nodes {
		shortest, longest = min(shortest, n.queued()), max(longest, n.queued())
	}
	pick := least(len(p.nodes), p.rnd, func(i int) float64 {
		n := p.nodes[i]
		prefix := float64(p.indexes[i].match(j.Chain)) / float64(max(1, len(j.Chain)))
		return -llmdScore(prefix, n.usage(), n.queued(), shortest, longest)
	})
	p.indexes[pick].add(j.Chain)
	return pick
}

func llmdScore(prefix, usage float64, queued, shortest, longest int) float64 {
	queue := 1.0
	if longest > shortest {
		queue = float64(longest-queued) / float64(longest-shortest)
	}
	return llmdPrefixWeight*prefix + llmdUsageWeight*(1-usage) + llmdQueueWeight*queue
}
