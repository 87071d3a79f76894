// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestShare(t *testing.T) {
	var s share
	now := time.Unix(1000, 0)
	pass := func(d time.Duration) { now = now.Add(d) }
	want := func(cost, rest time.Duration) {
		t.Helper()
		if got := s.charge(cost, now); got != rest {
			t.Errorf("%v cost: rests %v, want %v", cost, got, rest)
		}
	}
	want(shareBurst, 0) // all that is saved at the start
	want(shareRest/2, 0)
	want(shareRest/2, sharePart*shareRest)
	pass(sharePart * shareRest)
	want(0, 0)
	for range 1000 { // half of the time for ever
		pass(10 * time.Millisecond)
		want(5*time.Millisecond, 0)
	}
	pass(10 * time.Millisecond)
	want(8*time.Millisecond, sharePart*3*time.Millisecond)
	pass(time.Hour) // no more than a burst is saved
	want(shareBurst+time.Second, sharePart*time.Second)
	pass(-time.Hour)
	want(0, sharePart*time.Second)
	want(-time.Hour, sharePart*time.Second)
	pass(math.MaxInt64)
	want(0, 0)
}

// laborious is a sink whose every event is a millisecond of work.
type laborious struct {
	*fakeSink
	busy, most *atomic.Int64
}

func (l laborious) Apply(e *Event) bool {
	n := l.busy.Add(1)
	for most := l.most.Load(); n > most && !l.most.CompareAndSwap(most, n); {
		most = l.most.Load()
	}
	time.Sleep(time.Millisecond)
	l.busy.Add(-1)
	return l.fakeSink.Apply(e)
}

// TestFloodsLeaveRoom: publishers that say as much as they can, live and in their
// histories, take their share of a core each and half of all together. Who says
// little is heard beside them, and one that is dismissed ends at once.
func TestFloodsLeaveRoom(t *testing.T) {
	for _, floods := range []int{1, 5} { // with one its share is the limit, with five all of them
		synctest.Test(t, func(t *testing.T) { leaveRoom(t, floods) })
	}
}

func leaveRoom(t *testing.T, floods int) {
	const batches = 30_000
	w := newWorld()
	var busy, most atomic.Int64
	w.set.options.Open = func(Source) Sink { return laborious{newFakeSink(), &busy, &most} }
	w.set.options.Closed = nil
	w.set.applying = make(chan struct{}, 2)
	var sources []Source
	for i := range floods {
		p := newFakePublisher()
		for h := range uint64(batches / 2) {
			p.store(h)
		}
		host := fmt.Sprint("flood", i)
		w.net.publishers[host] = p
		sources = append(sources, Source{Upstream: host + ":8000", Events: host + ":1", Replay: host + ":2"})
	}
	w.set.See(append(sources, source)...)
	synctest.Wait()
	for _, s := range sources {
		p := w.net.publishers[s.Upstream[:len("flood0")]]
		for h := range uint64(batches / 2) {
			p.store(batches + h)
		}
	}
	began := time.Now()
	heard := func(n uint64) {
		t.Helper()
		w.p.store(n)
		for at := time.Now(); w.set.States("a:8000")[0].Batches != n+1; time.Sleep(time.Millisecond) {
			if time.Since(at) > time.Second {
				t.Fatalf("a batch of who says little is not heard for %v", time.Since(at))
			}
		}
	}
	for n := uint64(0); time.Since(began) < 15*time.Second; n++ {
		w.set.See(append(sources, source)...)
		heard(n)
		time.Sleep(500 * time.Millisecond)
	}
	took := time.Since(began)
	var all, largest uint64
	for _, s := range sources {
		got := w.set.States(s.Upstream)[0].Batches
		all, largest = all+got, max(largest, got)
	}
	t.Logf("%d floods: %d ms the largest, %d ms all, in %v", floods, largest, all, took)
	if may := uint64((shareBurst + took/sharePart).Milliseconds()) + 100; largest > may || floods == 1 && largest < may-200 {
		t.Errorf("one had %d ms of %v, %d ms are its share", largest, took, may)
	}
	if may := uint64(2*took.Milliseconds()) + 100; all > may || floods > 4 && all < may-may/5 {
		t.Errorf("all together had %d ms of %v on two cores, %d ms are their share", all, took, may)
	}
	if n := most.Load(); n > 2 || floods > 4 && n < 2 {
		t.Errorf("%d batches were applied at the same time", n)
	}
	at := time.Now()
	w.set.Dismiss(sources...)
	for len(w.set.States("")) > 1 {
		time.Sleep(time.Millisecond)
	}
	if took := time.Since(at); took > 10*time.Millisecond { // those under way
		t.Errorf("it takes %v until they are let go", took)
	}
	w.set.Close()
}

// TestNoise: messages that are none cost their connection when there are many,
// and nothing when there are few.
func TestNoise(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.p.store(1)
		w.set.See(source)
		w.check(t, Complete)
		noise := func(n int) {
			w.p.mu.Lock()
			defer w.p.mu.Unlock()
			for _, c := range w.p.live {
				for range n {
					c.messages <- msg{[]byte("neither"), []byte("nor")}
				}
			}
		}
		for range 5 {
			noise(maxNoise - 1)
			w.keep(noiseTime, source)
		}
		w.check(t, Complete)
		if s := w.state(); s.Malformed != 5*(maxNoise-1) || s.Restarts != 1 || s.Failure != nil {
			t.Errorf("%+v", s)
		}
		noise(maxNoise)
		synctest.Wait()
		if s := w.state(); s.Connected || s.Failure != ErrNoise || s.Known != Unknown {
			t.Errorf("%+v", s)
		}
		w.keep(10*time.Second, source) // it is connected again, and heard
		w.p.store(2)
		w.check(t, Complete)
		if s := w.state(); s.Failure != nil || s.Batches == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestEndWhileOthersApply: who waits for a turn ends with the set.
func TestEndWhileOthersApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set.applying = make(chan struct{}) // never free
		w.p.store(1)
		w.set.See(source)
		synctest.Wait()
		var closing sync.WaitGroup
		closing.Go(w.set.Close)
		synctest.Wait()
		closing.Wait()
		if s := w.sink.known; s == Complete {
			t.Errorf("%s is known of what was never applied", s)
		}
	})
}
