// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math/rand/v2"
	"testing"
	"time"
)

// crowd is the traffic of one priority of one tenant.
type crowd struct {
	priority int32
	tenant   string
	load     float64 // share of what all engines together can compute

	asked, refused int
	waited         time.Duration // the longest wait for a first token, without its own prefill
}

// refusedShare returns the share of the crowd's requests that were refused.
func (c *crowd) refusedShare() float64 { return float64(c.refused) / float64(c.asked) }

// overload sends the crowds' requests to four engines that compute in the order
// of arrival, for some virtual time. It returns the share of the time for which
// the engines computed.
func overload(seed uint64, longestWait, lasts time.Duration, crowds ...*crowd) (busy float64) {
	const engines, meanTokens = 4, 1600
	rnd := rand.New(rand.NewPCG(seed, 7))
	rt, c := newTestRouter()
	s := NewShedder(longestWait)
	servers := make([]server, engines)
	candidates := make([]Candidate, engines)
	for i := range servers {
		servers[i] = server{perToken: startCost, noise: 0.2}
		candidates[i].Address = string(rune('a' + i))
	}
	total := 0.0
	for _, crowd := range crowds {
		total += crowd.load
	}
	meanGap := float64(prefill(meanTokens, startCost)) / engines / total
	end := c.t.Add(lasts)
	var open []answer
	var work time.Duration
	for c.t.Before(end) {
		c.add(time.Duration(rnd.ExpFloat64() * meanGap))
		open = deliver(c, open)
		crowd, at := crowds[0], rnd.Float64()*total
		for _, crowd = range crowds {
			if at -= crowd.load; at < 0 {
				break
			}
		}
		tokens := 1 + int(rnd.ExpFloat64()*meanTokens)
		r := rt.NewRequest(Prompt{Chain: []uint64{rnd.Uint64()}, Tokens: tokens, BlockTokens: 64, Stream: true})
		r.LimitWait(s, crowd.priority, crowd.tenant)
		d := r.Route(candidates, false)
		if crowd.asked++; d.Pick < 0 {
			crowd.refused++
			continue
		}
		before := servers[d.Pick].free
		crowd.waited = max(crowd.waited, before.Sub(c.t))
		open = append(open, answer{r, servers[d.Pick].finish(c.t, tokens, rnd)})
		work += servers[d.Pick].free.Sub(later(before, c.t))
	}
	return float64(work) / float64(lasts) / engines
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// With twice the load that the engines can take, of three equal priorities the
// best loses next to nothing, the worst next to all, and no engine idles.
func TestOverloadByPriority(t *testing.T) {
	for seed := range seeds(5) {
		best, middle, worst := &crowd{priority: -1, load: 2. / 3}, &crowd{load: 2. / 3}, &crowd{priority: 10, load: 2. / 3}
		busy := overload(seed, 3*time.Second, 3*time.Minute, best, middle, worst)
		t.Logf("refused: best %.2f %%, middle %.1f %%, worst %.1f %%; engines busy for %.1f %% of the time; longest waits %v, %v, %v",
			100*best.refusedShare(), 100*middle.refusedShare(), 100*worst.refusedShare(), 100*busy, best.waited, middle.waited, worst.waited)
		if best.refusedShare() > .01 || middle.refusedShare() < .3 || middle.refusedShare() > .7 || worst.refusedShare() < .95 {
			t.Errorf("seed %d: refused %v of the best, %v of the middle and %v of the worst", seed, best.refusedShare(), middle.refusedShare(), worst.refusedShare())
		}
		if busy < .97 {
			t.Errorf("seed %d: the engines computed for only %v of an overload", seed, busy)
		}
		if best.waited > 6*time.Second { // the prediction has an error
			t.Errorf("seed %d: one waited for %v", seed, best.waited)
		}
	}
}

// One tenant asks for more than all engines can compute. Those who ask for little
// are hardly refused, whatever priority it gives itself; without tenants they would be.
func TestOverloadByTenant(t *testing.T) {
	for seed := range seeds(5) {
		for _, c := range []struct {
			name   string
			crowds []*crowd
			most   float64 // share of the small ones' requests that may be refused
		}{
			{"tenants", []*crowd{{tenant: "greedy", load: 1.7}, {tenant: "a", load: .1}, {tenant: "b", load: .1}, {tenant: "c", load: .1}}, .01},
			{"tenants, and the greedy one comes first", []*crowd{{tenant: "greedy", load: 1.7, priority: -1}, {tenant: "a", load: .1}, {tenant: "b", load: .1}, {tenant: "c", load: .1}}, .1},
			{"no tenants", []*crowd{{load: 1.7}, {load: .1}, {load: .1}, {load: .1}}, 1},
		} {
			busy := overload(seed, 3*time.Second, 3*time.Minute, c.crowds...)
			for i, crowd := range c.crowds {
				t.Logf("%s: refused %.2f %% of crowd %d", c.name, 100*crowd.refusedShare(), i)
				many := i == 0 || c.most == 1
				if share := crowd.refusedShare(); many && share < .3 || !many && share > c.most {
					t.Errorf("seed %d, %s: refused %v of crowd %d", seed, c.name, share, i)
				}
			}
			if busy < .97 {
				t.Errorf("seed %d, %s: the engines computed for only %v of an overload", seed, c.name, busy)
			}
		}
	}
}

// With half the load that the engines can take, bursts queue and nobody is refused.
func TestNoOverload(t *testing.T) {
	for seed := range seeds(5) {
		crowds := []*crowd{{priority: -1, tenant: "a", load: .25}, {tenant: "b", load: .15}, {priority: 10, tenant: "c", load: .1}}
		overload(seed, 5*time.Second, 3*time.Minute, crowds...)
		for i, crowd := range crowds {
			if crowd.refused > 0 {
				t.Errorf("seed %d: refused %d of %d of crowd %d", seed, crowd.refused, crowd.asked, i)
			}
		}
	}
}
