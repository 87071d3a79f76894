// SPDX-License-Identifier: Apache-2.0

// Package w1 generates the benchmark workload W1 of the prefix index. It is
// deterministic: fixed seeds, the same blocks on every machine.
//
// 64 upstreams ("pods"), multi-turn conversations that share 50 system prompts
// of Zipf popularity; final prompts of 1k..32k tokens (lognormal, median 3072,
// sigma 0.85, clipped) in blocks of 16. Every turn's prompt is a prefix of the
// conversation's last. All turns but the last are recorded (Build), each on the
// conversation's pod of the moment (85 % sticky, else any); the last turn of
// each conversation is held out and is what most lookups ask for.
package w1

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"
)

const (
	Upstreams   = 64
	numSystems  = 50
	BlockTokens = 16
	minTokens   = 1024
	maxTokens   = 32768
)

// NPods is how many of the Pods slots the workload uses (set before New).
var NPods = Upstreams

// Turn is one request: a conversation's prompt so far, answered by a pod.
type Turn struct {
	Conversation int32
	Upstream     int32
	Blocks       int32 // number of full blocks of the prompt at this turn
}

// Conv is a conversation.
type Conversation struct {
	system       int32
	systemTokens int32
	tokens       int32    // tokens of the held-out last turn
	Hashes       []uint64 // chained block hashes of the last turn's prompt
	numTurns     int
}

// W is the workload.
type Workload struct {
	NConv         int
	Conversations []Conversation
	Turns         []Turn // in arrival order (conversations interleaved)
	last          []Turn // one per conversation: the last turn
	systemTokens  [numSystems]int
	// derived
	DistinctBlocks int // distinct blocks recorded by Build
	Pairs          int // distinct (block,pod) pairs recorded by Build
	BlocksRecorded int // total block adds executed by Build
}

func logUniform(r *rand.Rand, lo, hi float64) float64 {
	return math.Exp(math.Log(lo) + r.Float64()*(math.Log(hi)-math.Log(lo)))
}

func mix(a, b uint64) uint64 {
	z := a*0x9E3779B97F4A7C15 ^ b*0xBF58476D1CE4E5B9
	z ^= z >> 30
	z *= 0xBF58476D1CE4E5B9
	z ^= z >> 27
	z *= 0x94D049BB133111EB
	return z ^ z>>31
}

// Tokens fills dst with the first n tokens of conversation c.
func (w *Workload) appendTokens(c int, n int, dst []uint32) []uint32 {
	dst = dst[:0]
	cv := &w.Conversations[c]
	for i := 0; i < n; i++ {
		var h uint64
		if i < int(cv.systemTokens) {
			h = mix(uint64(cv.system)+1, uint64(i)+1)
		} else {
			h = mix(uint64(c)+1_000_003, uint64(i)+7)
		}
		dst = append(dst, uint32(h%128000))
	}
	return dst
}

// Text: 4 ASCII chars per token, deterministic.
func (w *Workload) Text(c int, nTok int, dst []byte, tok []uint32) []byte {
	const al = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789."
	tok = w.appendTokens(c, nTok, tok)
	dst = dst[:0]
	for _, t := range tok {
		dst = append(dst, al[t&63], al[(t>>6)&63], al[(t>>12)&63], ' ')
	}
	return dst
}

// Chain computes the reference chained block hash: xxh64(parent||16 tokens LE).
func chain(tok []uint32, out []uint64) []uint64 {
	out = out[:0]
	var buf [8 + 4*BlockTokens]byte
	parent := uint64(0x9E3779B97F4A7C15)
	for i := 0; i+BlockTokens <= len(tok); i += BlockTokens {
		binary.LittleEndian.PutUint64(buf[:8], parent)
		for j := 0; j < BlockTokens; j++ {
			binary.LittleEndian.PutUint32(buf[8+4*j:], tok[i+j])
		}
		parent = xxhash.Sum64(buf[:])
		out = append(out, parent)
	}
	return out
}

// New generates a workload of nconv conversations; W1 has 20,000.
func New(nconv int) *Workload {
	r := rand.New(rand.NewPCG(42, 4242))
	w := &Workload{NConv: nconv, Conversations: make([]Conversation, nconv)}
	for s := range w.systemTokens {
		w.systemTokens[s] = int(logUniform(r, 256, 4096)) / BlockTokens * BlockTokens
	}
	// zipf(1.0) popularity for system prompts
	cum := make([]float64, numSystems)
	t := 0.0
	for i := range cum {
		t += 1 / float64(i+1)
		cum[i] = t
	}
	pickSys := func() int {
		x := r.Float64() * t
		for i, c := range cum {
			if x <= c {
				return i
			}
		}
		return numSystems - 1
	}
	type ev struct {
		t  float64
		tn Turn
	}
	var evs []ev
	tok := make([]uint32, 0, maxTokens)
	w.last = make([]Turn, nconv)
	for c := 0; c < nconv; c++ {
		cv := &w.Conversations[c]
		cv.system = int32(pickSys())
		L := int(math.Exp(math.Log(3072) + .85*r.NormFloat64()))
		L = max(minTokens, min(maxTokens, L))
		st := w.systemTokens[cv.system]
		if L < st+256 {
			L = st + 256
		}
		cv.systemTokens, cv.tokens = int32(st), int32(L)
		tok = w.appendTokens(c, L, tok)
		cv.Hashes = append([]uint64(nil), chain(tok, nil)...)
		K := 2 + r.IntN(7) // 2..8 turns including the held-out one
		cv.numTurns = K
		start := r.Float64()
		pod := int32(r.IntN(NPods))
		for k := 1; k <= K; k++ {
			n := st + (L-st)*k/K
			if k > 1 && r.Float64() > .85 {
				pod = int32(r.IntN(NPods))
			}
			tn := Turn{int32(c), pod, int32(n / BlockTokens)}
			if k == K {
				w.last[c] = tn
			} else {
				evs = append(evs, ev{start + .02*float64(k) + .01*r.Float64(), tn})
			}
		}
	}
	// arrival order
	quicksort(evs, func(a, b ev) bool { return a.t < b.t })
	w.Turns = make([]Turn, len(evs))
	for i, e := range evs {
		w.Turns[i] = e.tn
		w.BlocksRecorded += int(e.tn.Blocks)
	}
	return w
}

// quick is an own sort, because the order of equal elements must never change.
func quicksort[T any](x []T, less func(a, b T) bool) {
	for len(x) > 12 {
		p := x[len(x)/2]
		i, j := 0, len(x)-1
		for i <= j {
			for less(x[i], p) {
				i++
			}
			for less(p, x[j]) {
				j--
			}
			if i <= j {
				x[i], x[j] = x[j], x[i]
				i++
				j--
			}
		}
		if j+1 < len(x)-i {
			quicksort(x[:j+1], less)
			x = x[i:]
		} else {
			quicksort(x[i:], less)
			x = x[:j+1]
		}
	}
	for i := 1; i < len(x); i++ {
		for j := i; j > 0 && less(x[j], x[j-1]); j-- {
			x[j], x[j-1] = x[j-1], x[j]
		}
	}
}

// Query kinds.
const (
	Continued   = iota // held-out last turn of a known conversation
	KnownSystem        // known system prompt + unknown tail
	Unknown            // everything unknown
)

// Query is one lookup.
type Query struct {
	Kind         int
	Conversation int
	Upstream     int
	Hashes       []uint64
}

// Queries: 75% continuation, 20% new conversation on a known system prompt, 5% cold.
func (w *Workload) Queries(n int, seed uint64) []Query {
	r := rand.New(rand.NewPCG(seed, 99))
	qs := make([]Query, n)
	for i := range qs {
		c := r.IntN(w.NConv)
		cv := &w.Conversations[c]
		q := &qs[i]
		q.Conversation, q.Upstream = c, r.IntN(NPods)
		x := r.Float64()
		switch {
		case x < .75:
			q.Kind, q.Hashes, q.Upstream = Continued, cv.Hashes, int(w.last[c].Upstream)
		case x < .95:
			q.Kind = KnownSystem
			h := append([]uint64(nil), cv.Hashes...)
			for j := int(cv.systemTokens) / BlockTokens; j < len(h); j++ {
				h[j] = mix(uint64(i)+0x5555_0000_0000*seed, uint64(j)+1)
			}
			q.Hashes = h
		default:
			q.Kind = Unknown
			h := make([]uint64, len(cv.Hashes))
			for j := range h {
				h[j] = mix(uint64(i)+0x7777_0000_0000*seed, uint64(j)+1)
			}
			q.Hashes = h
		}
	}
	return qs
}

// Reference is an exact model (map of 64-pod bit masks) for correctness checks and pair counts.
type Reference struct{ holders map[uint64]uint64 }

// Ref builds the exact model and counts distinct blocks and pairs.
func (w *Workload) NewReference() *Reference {
	m := make(map[uint64]uint64)
	for _, t := range w.Turns {
		bit := uint64(1) << t.Upstream
		for _, h := range w.Conversations[t.Conversation].Hashes[:t.Blocks] {
			m[h] |= bit
		}
	}
	w.DistinctBlocks = len(m)
	pairs := 0
	for _, v := range m {
		for ; v != 0; v &= v - 1 {
			pairs++
		}
	}
	w.Pairs = pairs
	return &Reference{m}
}

// Longest returns, per pod, the longest contiguous prefix in blocks.
func (r *Reference) Longest(h []uint64) (out [Upstreams]int) {
	alive := ^uint64(0)
	for i, x := range h {
		nx := alive & r.holders[x]
		for d := alive &^ nx; d != 0; d &= d - 1 {
			out[tz(d)] = i
		}
		alive = nx
		if alive == 0 {
			return
		}
	}
	for d := alive; d != 0; d &= d - 1 {
		out[tz(d)] = len(h)
	}
	return
}

func tz(x uint64) int {
	n := 0
	for x&1 == 0 {
		x >>= 1
		n++
	}
	return n
}
