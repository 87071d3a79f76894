// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"time"
)

// prefixAware is the prefixaware policy of vLLM production-stack: it picks any of
// the engines that were sent the longest prefix of the prompt, whatever their
// load. Its trie forgets nothing.
type prefixAware struct {
	noFeedback
	tries []*index
	rnd   *rand.Rand
}

func newPrefixAware(w *simulation) policy {
	return &prefixAware{tries: newIndexes(len(w.nodes), 0), rnd: w.rnd}
}

func (p *prefixAware) pick(j *job, _ time.Duration) int {
	node := least(len(p.tries), p.rnd, func(i int) float64 { return -float64(p.tries[i].match(j.Chain)) })
	p.tries[node].add(j.Chain)
	return node
}
