// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// holds returns the number of blocks of text that are recorded for address.
func (rt *Router) holds(address, text string) int {
	u := rt.upstreams[address]
	if u == nil {
		return 0
	}
	for _, m := range rt.tree.Lookup(chainOf(text), nil) {
		if m.Upstream == u.id {
			return int(m.Blocks)
		}
	}
	return 0
}

func wantHolds(t *testing.T, rt *Router, address, text string, want int) {
	t.Helper()
	if got := rt.holds(address, text); got != want {
		t.Fatalf("%s holds %d blocks of %q, want %d", address, got, text, want)
	}
}

func TestAFailedAttemptTakesBackWhatItAdded(t *testing.T) {
	rt, _ := newTestRouter()
	first := rt.newTestRequest("abc")
	first.Route(a("one"), false)
	first.Confirm()
	first.End()
	wantHolds(t, rt, "one", "abcdef", 3)

	second := rt.newTestRequest("abcdef")
	second.Route(a("one"), false)
	wantHolds(t, rt, "one", "abcdef", 6)
	second.Route(a("two"), false) // a further attempt: the one before has failed
	wantHolds(t, rt, "one", "abcdef", 3)
	wantHolds(t, rt, "two", "abcdef", 6)
	second.Confirm()
	second.End()
	wantHolds(t, rt, "two", "abcdef", 6)
	if n := rt.upstreams["one"].queue.requests + rt.upstreams["two"].queue.requests; n != 0 {
		t.Fatalf("%d reservations left", n)
	}
}

func TestBlocksThatAnotherConfirmedStay(t *testing.T) {
	rt, _ := newTestRouter()
	failing, working := rt.newTestRequest("abcdef"), rt.newTestRequest("abcx")
	failing.Route(a("one"), false)
	working.Route(a("one"), false)
	working.Confirm()
	working.End()
	failing.End()
	wantHolds(t, rt, "one", "abcdef", 3)
	wantHolds(t, rt, "one", "abcx", 4)
}

func TestAClaimSharedByPendingRequestsGoesWithTheLast(t *testing.T) {
	rt, _ := newTestRouter()
	one, two := rt.newTestRequest("abcd"), rt.newTestRequest("abcd")
	one.Route(a("n"), false)
	two.Route(a("n"), false)
	one.End()
	wantHolds(t, rt, "n", "abcd", 4)
	two.End()
	wantHolds(t, rt, "n", "abcd", 0)
}

// model is the golden model: an upstream holds the prompts that were confirmed
// there or are pending there.
type model struct {
	confirmed map[string]map[string]bool // address -> texts
	pending   map[*Request]claimed
}

type claimed struct{ address, text string }

func (m *model) holds(address, text string) (longest int) {
	count := func(other string) {
		n := 0
		for n < min(len(text), len(other)) && text[n] == other[n] {
			n++
		}
		longest = max(longest, n)
	}
	for other := range m.confirmed[address] {
		count(other)
	}
	for _, c := range m.pending {
		if c.address == address {
			count(c.text)
		}
	}
	return longest
}

func TestClaimsAgainstGoldenModel(t *testing.T) {
	for seed := range seeds(200) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		rt, c := newTestRouter()
		m := model{map[string]map[string]bool{}, map[*Request]claimed{}}
		var live []*Request
		texts := map[*Request]string{}
		randomText := func() string {
			b := make([]byte, 1+rnd.IntN(6))
			for i := range b {
				b[i] = "ab"[rnd.IntN(2)]
			}
			return string(b)
		}
		for range 60 {
			c.add(time.Duration(rnd.IntN(20)) * time.Millisecond)
			switch k := rnd.IntN(6); {
			case k < 2 || len(live) == 0:
				text := randomText()
				r := rt.newTestRequest(text)
				texts[r] = text
				live = append(live, r)
				fallthrough
			case k == 2: // the first attempt of a new one, or a further one
				r := live[len(live)-1]
				if _, over := m.pending[r]; !over && k == 2 {
					continue // confirmed: Caddy does not try again
				}
				address := fmt.Sprint("n", rnd.IntN(3))
				if rnd.IntN(2) == 0 {
					r.Route(a(address), false)
				} else {
					r.Assign(Candidate{Address: address})
				}
				m.pending[r] = claimed{address, texts[r]}
			case k == 3:
				r := live[rnd.IntN(len(live))]
				r.Confirm()
				if p, ok := m.pending[r]; ok {
					delete(m.pending, r)
					if m.confirmed[p.address] == nil {
						m.confirmed[p.address] = map[string]bool{}
					}
					m.confirmed[p.address][p.text] = true
				}
			case k == 4:
				live[rnd.IntN(len(live))].FirstToken()
			default:
				i := rnd.IntN(len(live))
				live[i].End()
				delete(m.pending, live[i])
				live = append(live[:i], live[i+1:]...)
			}
			for range 5 {
				address, text := fmt.Sprint("n", rnd.IntN(3)), randomText()
				if got, want := rt.holds(address, text), m.holds(address, text); got != want {
					t.Fatalf("seed %d: %s holds %d of %q, want %d", seed, address, got, text, want)
				}
			}
			rt.validate(t, len(live))
		}
	}
}

// validate recounts what is reserved.
func (rt *Router) validate(t *testing.T, live int) {
	t.Helper()
	requests, pending := 0, 0
	for _, u := range rt.upstreams {
		u.queue.validate(t)
		requests += u.queue.requests
		pending += len(u.pending)
		for _, r := range u.pending {
			if r.attempt.upstream != u || r.attempt.confirmed {
				t.Fatal("a pending request that is elsewhere or confirmed")
			}
		}
		if u.footprint < 0 || rt.byID.find(u.id) != u {
			t.Fatalf("broken upstream %+v", u)
		}
	}
	if requests > live || pending > requests {
		t.Fatalf("%d live, %d reserved, %d pending", live, requests, pending)
	}
}

// An engine that refuses answers at once: its first token after a millisecond
// says nothing about its speed, its cache or its load.
func TestARefusedAttemptTeachesNothing(t *testing.T) {
	rt, clock := newTestRouter()
	for range 10 { // the engine's true cost
		r := rt.newTestRequest(fmt.Sprint("a prompt of its own ", clock.now().UnixNano()))
		r.Route(a("one"), false)
		r.Confirm()
		clock.add(100 * time.Millisecond)
		r.FirstToken()
		r.End()
	}
	k := rt.averages()
	u := rt.upstreams["one"]
	cost, footprint, filled := u.perToken(&k), u.footprint, u.capacity.filled
	for i := range 50 {
		r := rt.newTestRequest(fmt.Sprint("a refused prompt ", i))
		r.Route(a("one"), false)
		clock.add(time.Millisecond)
		r.FirstToken() // the header of the refusal
		r.End()
	}
	k = rt.averages()
	if got := u.perToken(&k); got != cost {
		t.Errorf("a token costs %v after refusals, %v before", got, cost)
	}
	if u.footprint != footprint || u.capacity.filled != filled {
		t.Errorf("footprint %d and filled %d after refusals, %d and %d before", u.footprint, u.capacity.filled, footprint, filled)
	}
}
