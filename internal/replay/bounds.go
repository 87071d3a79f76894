// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"time"
)

// exact picks the node with the earliest first token for this prompt. It knows
// each queue, and what each cache will hold when the prompt's prefill begins. It
// ignores requests to come, so a policy that plans for them can be better.
type exact struct {
	noFeedback
	engines []*engine
	caches  []*index // as they will be after all waiting prefill
	rnd     *rand.Rand
}

func newExact(w *simulation) policy {
	return &exact{engines: w.engines, caches: newIndexes(len(w.engines), w.engines[0].cache.capacity), rnd: w.rnd}
}

func (p *exact) pick(j *job, now time.Duration) int {
	node := least(len(p.engines), p.rnd, func(i int) float64 {
		own := j.uncached(p.caches[i].match(j.Chain), p.engines[i].blockTokens)
		return p.engines[i].prefillWait(now) + float64(own)/p.engines[i].rate
	})
	j.expectedUncached = j.uncached(p.caches[node].add(j.Chain), p.engines[node].blockTokens)
	return node
}

// pooled has one cache for all nodes, as large as theirs together, so it picks
// the node with the least queued work.
type pooled struct {
	noFeedback
	engines []*engine
	rnd     *rand.Rand
}

func newPooled(w *simulation) policy { return &pooled{engines: w.engines, rnd: w.rnd} }

func (p *pooled) pick(j *job, now time.Duration) int {
	j.expectedUncached = j.uncached(p.engines[0].cache.match(j.Chain), p.engines[0].blockTokens)
	return least(len(p.engines), p.rnd, func(i int) float64 { return p.engines[i].prefillWait(now) })
}
