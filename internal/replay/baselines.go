// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/cespare/xxhash/v2"
)

// roundRobin takes one node after the other.
type roundRobin struct {
	noFeedback
	nodes, last int
}

func newRoundRobin(w *simulation) policy { return &roundRobin{nodes: len(w.nodes), last: -1} }

func (p *roundRobin) pick(*job, time.Duration) int {
	p.last = (p.last + 1) % p.nodes
	return p.last
}

// random takes any.
type random struct {
	noFeedback
	nodes int
	rnd   *rand.Rand
}

func newRandom(w *simulation) policy { return &random{nodes: len(w.nodes), rnd: w.rnd} }

func (p *random) pick(*job, time.Duration) int { return p.rnd.IntN(p.nodes) }

// leastConn takes the node with the fewest requests in flight, any of several,
// as Caddy does. A request is in flight until its whole answer is there, so how
// long decoding takes matters: the fuller the count is of those that decode,
// the less it says of the prefill to wait for. On the Mooncake trace (8 nodes,
// speed 1) its mean time to first token is 2.27 s where only those that wait
// for prefill are counted, 2.99 s with the engines here, and 3.17 s where a
// decoded token takes 25 ms whatever else runs, the figure of the independent
// simulation that the tests compare with. Who is taken of several that are
// equal changes it by 1 to 4 %.
type leastConn struct {
	noFeedback
	inFlight []int
	rnd      *rand.Rand
}

func newLeastConn(w *simulation) policy { return &leastConn{inFlight: w.inFlight, rnd: w.rnd} }

func (p *leastConn) pick(*job, time.Duration) int {
	return least(len(p.inFlight), p.rnd, func(i int) float64 { return float64(p.inFlight[i]) })
}

// least returns the i with the smallest cost, any of several.
func least(n int, rnd *rand.Rand, cost func(i int) float64) int {
	best, ties, smallest := -1, 0, 0.0
	for i := range n {
		switch c := cost(i); {
		case best < 0 || c < smallest:
			best, ties, smallest = i, 1, c
		case c == smallest:
			if ties++; rnd.IntN(ties) == 0 {
				best = i
			}
		}
	}
	return best
}

// session sends a conversation always to the same node: the one with the
// highest hash of session and node.
type session struct {
	noFeedback
	nodes int
}

func newSession(w *simulation) policy { return session{nodes: len(w.nodes)} }

func (p session) pick(j *job, _ time.Duration) int {
	best, highest := 0, uint64(0)
	for i := range p.nodes {
		if h := hashPair(j.Session, uint64(i)); h >= highest {
			best, highest = i, h
		}
	}
	return best
}

func hashPair(a, b uint64) uint64 {
	var buf [16]byte
	binary.LittleEndian.PutUint64(buf[:8], a)
	binary.LittleEndian.PutUint64(buf[8:], b)
	return xxhash.Sum64(buf[:])
}
