// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// herd returns n requests with the same prompt of 5,000 tokens that arrive within
// a time, and answers of 100 to 200 tokens.
func herd(n int, within time.Duration, seed uint64) *Trace {
	rnd := rand.New(rand.NewPCG(seed, 21))
	t := &Trace{BlockTokens: 64}
	chain := make([]uint64, 5000/64)
	for i := range chain {
		chain[i] = rnd.Uint64()
	}
	for range n {
		t.Requests = append(t.Requests, Request{
			At: time.Duration(rnd.Float64() * float64(within)), Tokens: 5000, Output: 100 + rnd.IntN(101), Chain: chain,
		})
	}
	t.finish()
	return t
}

// herds runs a test for herds on 4 nodes, that arrive in several ways at engines
// that compute in different ways.
func herds(t *testing.T, run func(t *testing.T, trace *Trace, s *Setup)) {
	for _, within := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
		for _, chunk := range []int{0, 512} {
			t.Run(fmt.Sprintf("within %v, chunks of %d", within, chunk), func(t *testing.T) {
				s := defaultSetup()
				s.Nodes, s.Model.Chunk = 4, chunk
				run(t, herd(200, within, 1), &s)
			})
		}
	}
}

// wantSoon checks that the median of the times until the last token exceeds that
// of round_robin at most by a share.
func wantSoon(t *testing.T, trace *Trace, s *Setup, share float64) {
	t.Helper()
	ours, even := watch(t, trace, s, "kv_aware"), watch(t, trace, s, "round_robin")
	a, b := quantile(ours.e2e, 0.5), quantile(even.e2e, 0.5)
	if float64(a) > (1+share)*float64(b) {
		t.Errorf("half of the answers take %v, with round_robin %v: %v", a, b, ours.picks)
	}
}

// Before a prefix is computed anywhere, a second copy costs nothing but prefill:
// the herd must not decode in one batch.
func TestAColdHerdSpreads(t *testing.T) {
	herds(t, func(t *testing.T, trace *Trace, s *Setup) { wantSoon(t, trace, s, 0.1) })
}

// A herd for a prefix that one node holds is worth as many copies.
func TestAWarmHerdSpreads(t *testing.T) {
	herds(t, func(t *testing.T, trace *Trace, s *Setup) {
		for i := range trace.Requests[1:] {
			trace.Requests[i+1].At += 10 * time.Second
		}
		wantSoon(t, trace, s, 0.1)
	})
}
