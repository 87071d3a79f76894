// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"time"
)

// dynamo is NVIDIA Dynamo's default selector, in blocks:
//
//	cost = max(0, (prefill tokens active there + prompt)/block - overlap) + decode blocks
//
// The overlap comes from the engines' KV events, which are never late here.
// Prefill is active until the first token. A block that several requests in
// flight share counts once.
type dynamo struct {
	nodes       []node
	blockTokens int
	prefill     []int            // active tokens
	inUse       []map[uint64]int // block -> requests in flight
	added       map[*job]int     // active prefill tokens of each request
	rnd         *rand.Rand
}

func newDynamo(w *simulation) policy {
	p := &dynamo{
		nodes:       w.nodes,
		blockTokens: w.blockTokens,
		prefill:     make([]int, len(w.nodes)),
		added:       make(map[*job]int),
		rnd:         w.rnd,
	}
	for range w.nodes {
		p.inUse = append(p.inUse, make(map[uint64]int))
	}
	return p
}

func (p *dynamo) pick(j *job, _ time.Duration) int {
	pick := least(len(p.nodes), p.rnd, func(i int) float64 {
		overlap := p.nodes[i].held(j.Chain)
		shared := heldPrefix(j.Chain, func(h uint64) bool { return p.inUse[i][h] > 0 })
		decode := len(p.inUse[i]) + len(j.Chain) - shared
		return dynamoCost(p.prefill[i]+j.Tokens, p.blockTokens, overlap, decode)
	})
	p.added[j] = j.uncached(p.nodes[pick].held(j.Chain), p.blockTokens)
	p.prefill[pick] += p.added[j]
	for _, h := range j.Chain {
		p.inUse[pick][h]++
	}
	return pick
}

func dynamoCost(prefillTokens, blockTokens, overlapBlocks, decodeBlocks int) float64 {
	return max(0, float64(prefillTokens)/float64(blockTokens)-float64(overlapBlocks)) + float64(decodeBlocks)
}

func (p *dynamo) first(j *job, _ time.Duration) {
	p.prefill[j.node] -= p.added[j]
	delete(p.added, j)
}

func (p *dynamo) done(j *job, _ time.Duration) {
	used := p.inUse[j.node]
	for _, h := range j.Chain {
		if used[h]--; used[h] == 0 {
			delete(used, h)
		}
	}
}
