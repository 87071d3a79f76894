// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"sort"
	"time"
)

const (
	chwblReplicas   = 256
	chwblLoadFactor = 1.25
)

// chwbl is consistent hashing with bounded loads (Mirrokni, Thorup and
// Zadimoghaddam, 2016) as in KubeAI: the key is the prompt's first 100
// characters, and each node has 256 points on the ring. From the key on, it picks
// the first node with at most 1.25 times the mean of requests in flight, the
// new one counted.
type chwbl struct {
	noFeedback
	inFlight []int
	ring     []ringPoint
}

type ringPoint struct {
	hash uint64
	node int
}

func newCHWBL(w *simulation) policy {
	p := &chwbl{inFlight: w.inFlight}
	for node := range w.nodes {
		for replica := range chwblReplicas {
			p.ring = append(p.ring, ringPoint{hashPair(uint64(node), uint64(replica)), node})
		}
	}
	slices.SortFunc(p.ring, func(a, b ringPoint) int {
		if a.hash < b.hash {
			return -1
		}
		return 1
	})
	return p
}

func (p *chwbl) pick(j *job, _ time.Duration) int {
	total := 1
	for _, n := range p.inFlight {
		total += n
	}
	limit := chwblLoadFactor * float64(total) / float64(len(p.inFlight))
	key := hashPair(j.Affinity, 0)
	from := sort.Search(len(p.ring), func(i int) bool { return p.ring[i].hash >= key })
	for k := range p.ring {
		if node := p.ring[(from+k)%len(p.ring)].node; float64(p.inFlight[node]) <= limit {
			return node
		}
	}
	return p.ring[from%len(p.ring)].node
}
