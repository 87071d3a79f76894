// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"testing"
	"time"
)

func TestBatchCostFollowsTheAnswers(t *testing.T) {
	var b batchCost
	if got := b.perRequest(); got != startAnswer*decodePerRequest {
		t.Errorf("before any answer %v", got)
	}
	for _, tokens := range []int{1000, 10} {
		for range 20_000 {
			b.learn(tokens)
		}
		if got, want := b.perRequest(), time.Duration(tokens)*decodePerRequest; got < want*99/100 || got > want*11/10 {
			t.Errorf("answers of %d tokens: %v a request, want %v", tokens, got, want)
		}
	}
}

func TestGeneratedTokensAreLearnedOnceAndBounded(t *testing.T) {
	rt, _ := newTestRouter()
	r := rt.newTestRequest("ab")
	r.Generated(500) // before it is sent anywhere
	r.Route(a("n"), false)
	for _, tokens := range []int{-1, 0, math.MaxInt, 7, 7} {
		r.Generated(tokens)
	}
	r.End()
	r.Generated(9)
	if b := rt.batchCost; b.answers != 1 || b.tokens != maxAnswer {
		t.Errorf("learned %+v", b)
	}
}

func TestDecodeDelays(t *testing.T) {
	const each = 32 * time.Millisecond
	for _, c := range []struct {
		name     string
		queued   []int
		inFlight []int
		want     []time.Duration
	}{
		{"idle", []int{0, 0}, []int{0, 0}, []time.Duration{0, 0}},
		{"queued requests all count", []int{3, 0}, []int{3, 0}, []time.Duration{3 * each / 2, 0}},
		{"equal batches", []int{0, 0}, []int{90, 90}, []time.Duration{0, 0}},
		{"batches that differ by chance", []int{0, 0, 0, 0}, []int{7, 2, 4, 3}, make([]time.Duration, 4)},
		{"a herd on one", []int{0, 0, 0, 0}, []int{100, 0, 0, 0}, []time.Duration{(75*75 - 225) * each / 75 / 2, 0, 0, 0}},
		{"no more requests than in the queue", []int{2, 0}, []int{0, 0}, []time.Duration{each, 0}},
		{"beyond all measure", []int{1 << 40, 0}, []int{1 << 41, 1}, []time.Duration{maxScore, 0}},
	} {
		candidates := make([]scoredCandidate, len(c.queued))
		for i := range candidates {
			candidates[i] = scoredCandidate{Queued: c.queued[i], InFlight: c.inFlight[i]}
		}
		addDecodeDelays(candidates, each)
		for i := range candidates {
			if got := candidates[i].DecodeDelay; (got - c.want[i]).Abs() > time.Microsecond {
				t.Errorf("%s: candidate %d is delayed by %v, want %v", c.name, i, got, c.want[i])
			}
		}
	}
	addDecodeDelays(nil, each)
}

// A prefix is worth waiting for beside a few decodes, not beside a hundred.
func TestAGrowingBatchOutweighsAHit(t *testing.T) {
	for _, c := range []struct{ decoding, want int }{{0, 0}, {10, 0}, {100, 1}} {
		rt, _ := newTestRouter()
		rt.newTestRequest("abcdefghijklmnopqrstuvwxyz").Route(a("one"), false)
		rt.upstream("one").queue = prefillQueue{}
		candidates := []Candidate{{Address: "one", Requests: c.decoding}, {Address: "two"}}
		forecasts, d := rt.newTestRequest("abcdefghijklmnopqrstuvwxyz").Explain(candidates)
		if d.Pick != c.want {
			t.Errorf("beside %d decodes: %+v %+v", c.decoding, d, forecasts)
		}
		if delay := forecasts[0].DecodeDelay; delay > 0 != (c.decoding > 10) || forecasts[1].DecodeDelay != 0 {
			t.Errorf("beside %d decodes the answer is delayed by %v", c.decoding, delay)
		}
	}
}
