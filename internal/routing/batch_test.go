// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestBatchCostFollowsTheAnswers(t *testing.T) {
	var b batchCost
	if got := b.perRequest(startCost); got != 32*time.Millisecond {
		t.Errorf("before any answer %v", got)
	}
	if got := b.perRequest(startCost / 10); got != 3200*time.Microsecond {
		t.Errorf("before any answer of a quick engine %v", got)
	}
	rnd := rand.New(rand.NewPCG(1, 51))
	for _, tokens := range []int{1000, 10} {
		for range 20_000 {
			// A step takes 16 ms and 0.25 ms for each request.
			beside := rnd.IntN(100)
			b.learn(time.Duration(tokens)*(16*time.Millisecond+time.Duration(beside)*250*time.Microsecond), beside)
		}
		if got, want := b.perRequest(startCost), time.Duration(tokens)*250*time.Microsecond; got < want*98/100 || got > want*11/10 {
			t.Errorf("answers of %d tokens: %v a request, want %v", tokens, got, want)
		}
	}
	b.learn(-time.Hour, -5)
	if got := b.perRequest(startCost); got <= 0 || got > 10*time.Millisecond {
		t.Errorf("after a negative time %v", got)
	}
}

// An answer stands still while other prompts are computed. That time says nothing
// of the batch.
func TestPrefillBesideAnAnswerIsLeftOut(t *testing.T) {
	rt, c := newTestRouter()
	first, second, third := rt.newTestRequest("aa"), rt.newTestRequest("bb"), rt.newTestRequest("cc")
	first.Route(a("n"), false)
	first.Confirm()
	c.add(ms(10))
	first.FirstToken()
	c.add(ms(640))
	second.Route(a("n"), false)
	c.add(ms(100))
	third.Route(a("n"), false)
	c.add(ms(100))
	for _, r := range []*Request{second, third} {
		r.Confirm()
		c.add(ms(100))
		r.FirstToken()
	}
	c.add(ms(660))
	first.End() // 1,300 ms without the 400 of prefill, beside two others
	if got := rt.batchCost; got.answers != 1 || math.Abs(got.delay-float64(ms(1300))/66) > 1 {
		t.Errorf("learned %+v", got)
	}
	second.End()
	if rt.batchCost.answers < 1.9 {
		t.Errorf("learned %+v", rt.batchCost)
	}
	refused := rt.newTestRequest("dd")
	refused.Route(a("n"), false)
	refused.FirstToken()
	refused.End()
	whole := rt.NewRequest(Prompt{Chain: chainOf("e"), Tokens: 64, BlockTokens: 64})
	whole.Route(a("n"), false)
	whole.Confirm()
	whole.FirstToken()
	whole.End()
	if rt.batchCost.answers > 2 {
		t.Errorf("a refused answer or one that was not streamed taught something: %+v", rt.batchCost)
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
	full := []scoredCandidate{{Queued: 3, InFlight: 103, Full: true}, {}, {}, {}}
	addDecodeDelays(full, each)
	if got, want := full[0].DecodeDelay, (75*75-225)*each/75/2; (got - want).Abs() > time.Microsecond {
		t.Errorf("where the cache is full %v, want %v", got, want)
	}
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
