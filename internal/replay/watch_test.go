// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"testing"
	"time"
)

// watched counts the requests that a policy sends to each node, and notes how long
// their answers take until the last token.
type watched struct {
	policy
	picks []int
	e2e   []time.Duration
}

func (p *watched) pick(j *job, now time.Duration) int {
	node := p.policy.pick(j, now)
	p.picks[node]++
	return node
}

func (p *watched) done(j *job, now time.Duration) {
	p.e2e = append(p.e2e, now-j.arrived)
	p.policy.done(j, now)
}

// watch replays the trace under a policy.
func watch(t *testing.T, trace *Trace, s *Setup, name string) *watched {
	t.Helper()
	k, err := specOf(name)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{picks: make([]int, s.Nodes)}
	spec := *k
	spec.make = func(in *simulation) policy {
		w.policy = k.make(in)
		return w
	}
	newSimulation(trace, s, &spec).replay(trace)
	slices.Sort(w.e2e)
	return w
}
