// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"testing"
	"time"
)

// steadyLeastConn is least_conn for answers that decode at a constant rate,
// where this package's engines pause them during prefill.
type steadyLeastConn struct {
	noFeedback
	inFlight []int
	perToken time.Duration
	ends     [][]time.Duration // ends of the running answers, by node
}

func (p *steadyLeastConn) pick(_ *job, now time.Duration) int {
	best := 0
	for i, ends := range p.ends {
		kept := ends[:0]
		for _, at := range ends {
			if at > now {
				kept = append(kept, at)
			}
		}
		p.inFlight[i] -= len(ends) - len(kept)
		p.ends[i] = kept
		if p.inFlight[i] < p.inFlight[best] {
			best = i
		}
	}
	p.inFlight[best]++
	return best
}

func (p *steadyLeastConn) first(j *job, now time.Duration) {
	p.ends[j.node] = append(p.ends[j.node], now+time.Duration(j.Output)*p.perToken)
}

// The independent simulation picks the node with the fewest requests in flight,
// and a decoded token takes 25 ms. Our engines decode faster alone and pause
// during prefill, so the times are a twentieth shorter with them.
func TestLeastLoadedOfAnIndependentSimulation(t *testing.T) {
	trace := sharedTrace(t, "mooncake-conversation.jsonl")
	s := defaultSetup()
	w := newSimulation(trace, &s, &policySpec{make: func(w *simulation) policy {
		return &steadyLeastConn{perToken: 25 * time.Millisecond, inFlight: make([]int, s.Nodes), ends: make([][]time.Duration, s.Nodes)}
	}})
	w.replay(trace)
	got := w.result(trace, &policySpec{})
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"mean", got.TTFT.Mean.Seconds(), 3.17},
		{"p90", got.TTFT.P90.Seconds(), 7.72},
		{"p99", got.TTFT.P99.Seconds(), 16.3},
	} {
		if math.Abs(c.got-c.want) > 0.02*c.want {
			t.Errorf("TTFT %s %.3f s, want %.3f", c.name, c.got, c.want)
		}
	}
	if math.Abs(got.HitRate-0.09) > 0.005 {
		t.Errorf("hit rate %.3f, want 0.09", got.HitRate)
	}
	ours := mustRun(t, trace, s, "least_conn").TTFT.Mean
	if ratio := ours.Seconds() / got.TTFT.Mean.Seconds(); ratio > 1 || ratio < 0.9 {
		t.Errorf("least_conn on our engines: %v, a factor of %.2f", ours, ratio)
	}
}
