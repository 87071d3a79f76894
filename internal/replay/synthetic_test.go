// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"math/rand/v2"
	"time"
)

// generator makes traces of several kinds of traffic, so that no verdict rests on
// the two recorded traces alone.
type generator struct {
	rnd   *rand.Rand
	trace Trace
	fresh uint64
}

const syntheticBlock = 256 // tokens

// syntheticKinds lists the kinds of traffic that addSession generates.
var syntheticKinds = []string{"chat", "rag", "agents", "unique", "system", "bursts"}

// syntheticTrace returns n requests of a kind. At its rate, 8 nodes of 8,000
// tokens per second that cache everything are busy for the given share of the
// time. Sessions begin at random times, and their gaps do not depend on the rate.
func syntheticTrace(kind string, n int, busy float64, seed uint64) *Trace {
	s := &generator{rnd: rand.New(rand.NewPCG(seed, 11))}
	s.trace.BlockTokens = syntheticBlock
	var starts []int // of sessions
	for len(s.trace.Requests) < n {
		starts = append(starts, len(s.trace.Requests))
		s.addSession(kind)
	}
	seen, work := map[uint64]bool{}, 0
	for _, r := range s.trace.Requests {
		held := 0
		for held < len(r.Chain) && seen[r.Chain[held]] {
			held++
		}
		work += r.uncached(held, syntheticBlock)
		for _, h := range r.Chain[held:] {
			seen[h] = true
		}
	}
	span := float64(work) / (8 * 8000) / busy * float64(time.Second)
	for k, first := range starts {
		last := len(s.trace.Requests)
		if k+1 < len(starts) {
			last = starts[k+1]
		}
		begin := time.Duration(s.rnd.Float64() * span)
		for i := first; i < last; i++ {
			s.trace.Requests[i].At += begin
		}
	}
	s.trace.finish()
	s.trace.Requests = s.trace.Requests[:n]
	return &s.trace
}

// addSession adds one session, or a burst of them, that begins at 0.
func (s *generator) addSession(kind string) {
	switch kind {
	case "chat":
		s.session(0, s.systemPrompt(20), 1+s.exp(5), 400, 400, 45*time.Second)
	case "rag":
		s.session(0, s.document(), 1, 200, 200, time.Second)
	case "agents":
		s.session(0, s.prefix(1, 12000), 10+s.exp(20), 1500, 300, 8*time.Second)
	case "unique":
		s.session(0, nil, 1, 3000, 300, time.Second)
	case "system":
		s.session(0, s.prefix(1, 4000), 1, 1000, 200, time.Second)
	case "bursts":
		for range 1 + s.exp(12) {
			s.session(time.Duration(s.rnd.Float64()*5e9), s.systemPrompt(60), 1+s.exp(2), 1500, 300, 20*time.Second)
		}
	}
}

func (s *generator) exp(mean float64) int { return int(s.rnd.ExpFloat64() * mean) }

// lognormal draws from a distribution with the given mean and a long tail.
func (s *generator) lognormal(mean float64) int {
	return 1 + int(mean*math.Exp(s.rnd.NormFloat64()-0.5))
}

// prefix returns the chain of a numbered prefix, the same in each trace.
func (s *generator) prefix(number uint64, tokens int) []uint64 {
	chain, h := make([]uint64, tokens/syntheticBlock), number<<32
	for i := range chain {
		h = hashPair(h, uint64(i))
		chain[i] = h
	}
	return chain
}

// systemPrompt returns one of n system prompts, the first ones more often.
func (s *generator) systemPrompt(n int) []uint64 {
	k := uint64(math.Pow(float64(n), s.rnd.Float64()))
	return s.prefix(k, int(500+k*977%5000))
}

func (s *generator) document() []uint64 {
	k := uint64(math.Pow(400, s.rnd.Float64()))
	return s.prefix(1000+k, int(6000+k*7919%30000))
}

// session adds turns, each of which continues the prompt before it.
func (s *generator) session(at time.Duration, start []uint64, turns int, input, output float64, gap time.Duration) {
	s.fresh++
	id := s.fresh
	chain, h := append([]uint64(nil), start...), hashPair(id, 99)
	if len(chain) > 0 {
		h = hashPair(chain[len(chain)-1], id)
	}
	tokens := len(chain) * syntheticBlock
	for range turns {
		in, out := s.lognormal(input), s.lognormal(output)
		tokens += in
		for len(chain) < tokens/syntheticBlock {
			h = hashPair(h, uint64(len(chain)))
			chain = append(chain, h)
		}
		s.trace.Requests = append(s.trace.Requests, Request{
			At: at, Tokens: tokens, Output: out, Chain: append([]uint64(nil), chain...), Session: id,
			Affinity: hashPair(1, append(chain, h)[0]),
		})
		tokens += out
		at += time.Duration(float64(gap) * s.rnd.ExpFloat64())
	}
}
