// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var epoch = time.Unix(1_000_000, 0)

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func TestWaitIsTheSumOfWhatIsQueued(t *testing.T) {
	var l prefillQueue
	var a, b reservation
	if got := l.wait(at(0), 0.125); got != 0 {
		t.Fatalf("idle upstream: wait %v, want 0", got)
	}
	l.reserve(&a, at(0), 0, ms(100), false)
	l.reserve(&b, at(10), 0, ms(50), false)
	steps := []struct {
		do   func()
		now  int
		want float64
	}{
		{func() {}, 10, 140},                        // the head has run for 10 ms
		{func() {}, 95, 62.5},                       // the head is nearly due, the next one is whole
		{func() {}, 160, 62.5},                      // a late head counts an eighth, and hides nothing
		{func() { a.firstToken(at(170)) }, 170, 50}, // now the second begins
		{func() {}, 200, 20},                        //
		{func() { a.firstToken(at(205)) }, 210, 10}, // twice: no effect
		{func() { b.release(at(215)); b.release(at(215)) }, 215, 0},
	}
	for i, s := range steps {
		s.do()
		if got := l.wait(at(s.now), 0.125); got != time.Duration(s.want*1e6) {
			t.Fatalf("step %d: wait %v, want %v ms", i, got, s.want)
		}
	}
	if l.requests != 1 {
		t.Fatalf("a has had its first token and still decodes: %d requests, want 1", l.requests)
	}
	a.release(at(300))
	if l.requests != 0 || l.head != nil || l.tail != nil {
		t.Fatalf("not idle after the end of all: %+v", l)
	}
}

func TestTimedReservationsLeaveByThemselves(t *testing.T) {
	var l prefillQueue
	var a, b, c reservation
	l.reserve(&a, at(0), 0, ms(100), true)
	l.reserve(&b, at(0), 0, ms(100), true)
	l.reserve(&c, at(0), 0, ms(100), false)
	for _, s := range []struct {
		now  int
		want float64
	}{{0, 300}, {150, 150}, {200, 100}, {250, 50}, {400, 12.5}} {
		if got := l.wait(at(s.now), 0.125); got != time.Duration(s.want*1e6) {
			t.Fatalf("at %d ms: wait %v, want %v ms", s.now, got, s.want)
		}
	}
	if l.head != &c || l.requests != 3 {
		t.Fatalf("want only the untimed one queued, and three requests in flight; got %d", l.requests)
	}
}

func TestReserveTwicePanics(t *testing.T) {
	var l prefillQueue
	var a reservation
	l.reserve(&a, at(0), 0, 0, false)
	defer func() {
		if recover() == nil {
			t.Fatal("a reservation in use was entered a second time")
		}
	}()
	l.reserve(&a, at(0), 0, 0, false)
}

// slowQueue is the golden model: a plain list, recounted each time.
type slowQueue struct {
	queue []slowReservation
	since time.Time
}

type slowReservation struct {
	r     *reservation
	cost  time.Duration
	timed bool
}

func (s *slowQueue) advance(now time.Time) {
	for len(s.queue) > 0 && s.queue[0].timed && !now.Before(s.since.Add(s.queue[0].cost)) {
		s.since = s.since.Add(s.queue[0].cost)
		s.queue = s.queue[1:]
	}
}

func (s *slowQueue) remove(r *reservation, now time.Time) {
	s.advance(now)
	for i := range s.queue {
		if s.queue[i].r == r {
			if i == 0 {
				s.since = now
			}
			s.queue = append(append([]slowReservation(nil), s.queue[:i]...), s.queue[i+1:]...)
			return
		}
	}
}

func (s *slowQueue) wait(now time.Time) (sum time.Duration) {
	s.advance(now)
	for i, q := range s.queue {
		if i == 0 {
			q.cost = max(q.cost-now.Sub(s.since), q.cost/8)
		}
		sum += q.cost
	}
	return sum
}

// validate recounts the queue's links in both directions.
func (q *prefillQueue) validate(t *testing.T) {
	t.Helper()
	n := 0
	var prev *reservation
	for r := q.head; r != nil; r = r.next {
		if r.prev != prev || r.queue != q || !r.queued {
			t.Fatalf("broken link at %d", n)
		}
		prev = r
		n++
	}
	if q.tail != prev {
		t.Fatal("tail is not the last")
	}
	if n > q.requests {
		t.Fatalf("%d queued, only %d requests", n, q.requests)
	}
}

func TestQueueAgainstGoldenModel(t *testing.T) {
	for seed := range seeds(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var l prefillQueue
		var slow slowQueue
		var live []*reservation
		now := 0
		for range 300 {
			now += rnd.IntN(40)
			switch rnd.IntN(4) {
			case 0, 1:
				r := new(reservation)
				cost, timed := ms(rnd.IntN(60)), rnd.IntN(2) == 0
				slow.advance(at(now))
				if len(slow.queue) == 0 {
					slow.since = at(now)
				}
				slow.queue = append(slow.queue, slowReservation{r, cost, timed})
				l.reserve(r, at(now), 0, cost, timed)
				live = append(live, r)
			case 2, 3:
				if len(live) == 0 {
					continue
				}
				k := rnd.IntN(len(live))
				slow.remove(live[k], at(now))
				if rnd.IntN(2) == 0 {
					live[k].firstToken(at(now))
					continue
				}
				live[k].release(at(now))
				live = slices.Delete(live, k, k+1)
			}
			l.validate(t)
			if got, want := l.wait(at(now), 0.125), slow.wait(at(now)); got != want {
				t.Fatalf("seed %d at %d ms: wait %v, want %v", seed, now, got, want)
			}
			if l.requests != len(live) {
				t.Fatalf("seed %d: %d requests, want %d", seed, l.requests, len(live))
			}
			unstreamed := 0
			for _, r := range live {
				if r.timed {
					unstreamed++
				}
			}
			if l.unstreamed != unstreamed {
				t.Fatalf("seed %d: %d unstreamed requests, want %d", seed, l.unstreamed, unstreamed)
			}
		}
	}
}
