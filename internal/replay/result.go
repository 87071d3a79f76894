// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"time"
)

// Result holds the figures of one policy.
type Result struct {
	Policy   string
	Bound    bool // for comparison only: no gateway could run it
	Requests int
	HitRate  float64 // cached prompt tokens / prompt tokens
	TTFT     Distribution
	TPOT     time.Duration // mean over the answers of at least two tokens
	Busiest  float64       // computed prompt tokens of the busiest node / the mean
	Skipped  Skipped       // rows of the trace

	// For the chart: TTFTs in ascending order, and the requests in flight over
	// time, on all nodes and on the busiest.
	sorted []time.Duration
	load   []loadSample
	nodes  int
}

// Distribution summarizes durations.
type Distribution struct{ Mean, P50, P90, P99 time.Duration }

type loadSample struct{ total, busiest int }

// loadSamples is the number of load samples over a trace.
const loadSamples = 240

// recorder collects the figures of a simulation.
type recorder struct {
	ttfts      []time.Duration
	cached     int64
	tpot       float64 // sum, ns
	answers    int
	load       []loadSample
	every, due time.Duration
}

func (r *recorder) begin(w *simulation, t *Trace) {
	r.ttfts = make([]time.Duration, 0, len(t.Requests))
	last := time.Duration(float64(t.Requests[len(t.Requests)-1].At) / w.setup.Speed)
	r.every = max(1, last/loadSamples)
}

// sample records the load up to now.
func (r *recorder) sample(w *simulation, now time.Duration) {
	for ; r.due < now && len(r.load) <= loadSamples; r.due += r.every {
		var s loadSample
		for _, e := range w.engines {
			s.total += e.inFlight()
			s.busiest = max(s.busiest, e.inFlight())
		}
		r.load = append(r.load, s)
	}
}

func (r *recorder) done(j *job) {
	r.ttfts = append(r.ttfts, j.first-j.arrived)
	r.cached += int64(j.cached)
	if j.Output > 1 {
		r.answers++
		r.tpot += float64(j.done-j.first) / float64(j.Output-1)
	}
}

func (w *simulation) result(t *Trace, k *policySpec) Result {
	r := &w.recorder
	slices.Sort(r.ttfts)
	res := Result{
		Policy:   k.name,
		Bound:    k.bound,
		Requests: len(r.ttfts),
		HitRate:  float64(r.cached) / float64(max(1, t.tokens())),
		Skipped:  t.Skipped,
		TTFT:     distribution(r.ttfts),
		TPOT:     time.Duration(r.tpot / float64(max(1, r.answers))),
		sorted:   r.ttfts,
		load:     r.load,
		nodes:    len(w.engines),
	}
	var most, sum int64
	for _, e := range w.engines {
		most, sum = max(most, e.computed), sum+e.computed
	}
	if sum > 0 {
		res.Busiest = float64(most) * float64(len(w.engines)) / float64(sum)
	}
	return res
}

func distribution(sorted []time.Duration) Distribution {
	if len(sorted) == 0 {
		return Distribution{}
	}
	var sum float64
	for _, d := range sorted {
		sum += float64(d)
	}
	return Distribution{
		Mean: time.Duration(sum / float64(len(sorted))),
		P50:  quantile(sorted, 0.50),
		P90:  quantile(sorted, 0.90),
		P99:  quantile(sorted, 0.99),
	}
}

// quantile interpolates between the two nearest ranks.
func quantile(sorted []time.Duration, q float64) time.Duration {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + time.Duration((at-float64(i))*float64(sorted[i+1]-sorted[i]))
}
