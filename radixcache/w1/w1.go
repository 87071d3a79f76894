// SPDX-License-Identifier: Apache-2.0

// Package w1 generates the benchmark workload W1 of the prefix index. It is
// deterministic: fixed seeds, the same blocks on every machine.
//
// 64 upstreams answer conversations of several turns that share 50 system prompts
// of Zipf popularity. Final prompts have 1k..32k tokens (lognormal, median 3072,
// sigma 0.85, clipped) in blocks of 16. Every turn's prompt is a prefix of the
// conversation's last. All turns but the last are recorded (Turns), each on the
// conversation's upstream of the moment (85 % stay, else any). Most lookups ask for
// the last turn of a conversation, which is not recorded.
package w1

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"
)

const (
	Upstreams   = 64
	BlockTokens = 16

	numSystems = 50
	minTokens  = 1024
	maxTokens  = 32768
)

// Turn is one request: a conversation's prompt so far, answered by an upstream.
type Turn struct {
	Conversation int32
	Upstream     int32
	Blocks       int32 // full blocks of the prompt at this turn
}

// Conversation is a system prompt with a number of turns.
type Conversation struct {
	Hashes []uint64 // chained block hashes of the last turn's prompt

	system       int32
	systemTokens int32
}

// Workload is a set of conversations and the turns that are recorded.
type Workload struct {
	Conversations []Conversation
	Turns         []Turn // in arrival order, conversations interleaved

	BlocksRecorded int // total blocks of Turns
	DistinctBlocks int // of Turns, set by NewReference
	Pairs          int // of a distinct block and an upstream, set by NewReference

	last         []Turn // of each conversation
	systemTokens [numSystems]int
}

func logUniform(r *rand.Rand, lo, hi float64) float64 {
	return math.Exp(math.Log(lo) + r.Float64()*(math.Log(hi)-math.Log(lo)))
}

// mix hashes two numbers (finalizer of SplitMix64).
func mix(a, b uint64) uint64 {
	z := a*0x9E3779B97F4A7C15 ^ b*0xBF58476D1CE4E5B9
	z ^= z >> 30
	z *= 0xBF58476D1CE4E5B9
	z ^= z >> 27
	z *= 0x94D049BB133111EB
	return z ^ z>>31
}

// tokens fills dst with the first n tokens of conversation c.
func (w *Workload) tokens(c, n int, dst []uint32) []uint32 {
	dst = dst[:0]
	cv := &w.Conversations[c]
	for i := range n {
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

// chain returns the chained block hashes of a prompt: xxh64 of the hash before and
// of 16 tokens, little endian.
func chain(tokens []uint32) []uint64 {
	out := make([]uint64, 0, len(tokens)/BlockTokens)
	var buf [8 + 4*BlockTokens]byte
	parent := uint64(0x9E3779B97F4A7C15)
	for i := 0; i+BlockTokens <= len(tokens); i += BlockTokens {
		binary.LittleEndian.PutUint64(buf[:8], parent)
		for j := range BlockTokens {
			binary.LittleEndian.PutUint32(buf[8+4*j:], tokens[i+j])
		}
		parent = xxhash.Sum64(buf[:])
		out = append(out, parent)
	}
	return out
}

// zipf draws from n numbers with popularity 1/rank.
func zipf(r *rand.Rand, n int) func() int {
	sums := make([]float64, n)
	total := 0.0
	for i := range sums {
		total += 1 / float64(i+1)
		sums[i] = total
	}
	return func() int {
		x := r.Float64() * total
		for i, s := range sums {
			if x <= s {
				return i
			}
		}
		return n - 1
	}
}

// arrival is a turn with its time.
type arrival struct {
	at float64
	Turn
}

// New generates a workload of n conversations; W1 has 20,000.
func New(n int) *Workload {
	r := rand.New(rand.NewPCG(42, 4242))
	w := &Workload{Conversations: make([]Conversation, n), last: make([]Turn, n)}
	for s := range w.systemTokens {
		w.systemTokens[s] = int(logUniform(r, 256, 4096)) / BlockTokens * BlockTokens
	}
	system := zipf(r, numSystems)
	var arrivals []arrival
	buf := make([]uint32, 0, maxTokens)
	for c := range n {
		cv := &w.Conversations[c]
		cv.system = int32(system())
		length := int(math.Exp(math.Log(3072) + .85*r.NormFloat64()))
		length = max(minTokens, min(maxTokens, length))
		systemTokens := w.systemTokens[cv.system]
		length = max(length, systemTokens+256)
		cv.systemTokens = int32(systemTokens)
		buf = w.tokens(c, length, buf)
		cv.Hashes = chain(buf)
		arrivals = w.addTurns(r, arrivals, c, systemTokens, length)
	}
	quicksort(arrivals, func(a, b arrival) bool { return a.at < b.at })
	w.Turns = make([]Turn, len(arrivals))
	for i, a := range arrivals {
		w.Turns[i] = a.Turn
		w.BlocksRecorded += int(a.Blocks)
	}
	return w
}

// addTurns draws 2 to 8 turns of a conversation. The last one is not recorded.
func (w *Workload) addTurns(r *rand.Rand, arrivals []arrival, c, systemTokens, length int) []arrival {
	turns := 2 + r.IntN(7)
	start := r.Float64()
	up := int32(r.IntN(Upstreams))
	for k := 1; k <= turns; k++ {
		tokens := systemTokens + (length-systemTokens)*k/turns
		if k > 1 && r.Float64() > .85 {
			up = int32(r.IntN(Upstreams))
		}
		turn := Turn{int32(c), up, int32(tokens / BlockTokens)}
		if k == turns {
			w.last[c] = turn
		} else {
			arrivals = append(arrivals, arrival{start + .02*float64(k) + .01*r.Float64(), turn})
		}
	}
	return arrivals
}

// quicksort is here because the order of equal elements must never change, and the
// standard library does not promise that.
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

// Kinds of queries.
const (
	Continued   = iota // the last turn of a conversation whose other turns are recorded
	KnownSystem        // a system prompt that is recorded, and a tail that is not
	Unknown            // nothing of it is recorded
)

// Query is one lookup.
type Query struct {
	Kind         int
	Conversation int
	Upstream     int
	Hashes       []uint64
}

// Queries draws n queries: 75 % continued, 20 % on a known system prompt, 5 % unknown.
func (w *Workload) Queries(n int, seed uint64) []Query {
	r := rand.New(rand.NewPCG(seed, 99))
	qs := make([]Query, n)
	for i := range qs {
		c := r.IntN(len(w.Conversations))
		cv := &w.Conversations[c]
		q := &qs[i]
		q.Conversation, q.Upstream = c, r.IntN(Upstreams)
		x := r.Float64()
		switch {
		case x < .75:
			q.Kind, q.Hashes, q.Upstream = Continued, cv.Hashes, int(w.last[c].Upstream)
		case x < .95:
			q.Kind = KnownSystem
			q.Hashes = append([]uint64(nil), cv.Hashes...)
			for j := int(cv.systemTokens) / BlockTokens; j < len(q.Hashes); j++ {
				q.Hashes[j] = mix(uint64(i)+0x5555_0000_0000*seed, uint64(j)+1)
			}
		default:
			q.Kind = Unknown
			q.Hashes = make([]uint64, len(cv.Hashes))
			for j := range q.Hashes {
				q.Hashes[j] = mix(uint64(i)+0x7777_0000_0000*seed, uint64(j)+1)
			}
		}
	}
	return qs
}

// Reference answers lookups exactly. It holds a bit for each upstream of a block.
type Reference struct{ holders map[uint64]uint64 }

// NewReference records all turns, and counts distinct blocks and pairs.
func (w *Workload) NewReference() *Reference {
	holders := make(map[uint64]uint64)
	for _, t := range w.Turns {
		for _, h := range w.Conversations[t.Conversation].Hashes[:t.Blocks] {
			holders[h] |= 1 << t.Upstream
		}
	}
	w.DistinctBlocks, w.Pairs = len(holders), 0
	for _, set := range holders {
		w.Pairs += bits.OnesCount64(set)
	}
	return &Reference{holders}
}

// Longest returns, for each upstream, the longest prefix of a chain that it holds
// without a hole, in blocks.
func (r *Reference) Longest(chain []uint64) (out [Upstreams]int) {
	left := ^uint64(0)
	for i, h := range chain {
		set := left & r.holders[h]
		setAll(&out, left&^set, i)
		if left = set; left == 0 {
			return out
		}
	}
	setAll(&out, left, len(chain))
	return out
}

func setAll(out *[Upstreams]int, set uint64, n int) {
	for ; set != 0; set &= set - 1 {
		out[bits.TrailingZeros64(set)] = n
	}
}
