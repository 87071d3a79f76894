// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// validate recounts what the budget says of itself.
func (b *Queue) validate(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	all, held := tally{}, int64(0)
	clients := make(map[netip.Addr]tally)
	for l := range b.uploads {
		if !l.uploading || l.closed || l.held < 0 {
			t.Errorf("upload list holds a lease that is none")
		}
		c := clients[l.Client]
		for _, a := range []*tally{&c, &all} {
			a.uploads++
			a.held += l.held
			a.pending += l.pending
		}
		clients[l.Client] = c
		held += l.held
	}
	if all != b.total || held > b.used.Load() {
		t.Errorf("uploads: counted %+v, sum %+v of %d", b.total, all, b.used.Load())
	}
	for addr, c := range b.clients {
		if clients[addr] != *c || c.uploads == 0 {
			t.Errorf("client %v: counted %+v, sum %+v", addr, c, clients[addr])
		}
	}
	kept := int64(0)
	for _, w := range b.waiting {
		if w.reserved {
			kept += w.n
		}
		if !w.lease.waiting || w.lease.closed {
			t.Error("queue holds a waiter that does not wait")
		}
	}
	if kept != b.reserved {
		t.Errorf("room kept: counted %d, sum %d", b.reserved, kept)
	}
}

const mega = 1_000_000

func client(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

// upload starts a lease that holds n bytes and has not arrived.
func upload(t testing.TB, b *Queue, c netip.Addr, limit, n int64, wait time.Duration) *Lease {
	t.Helper()
	l := b.Open(Request{Client: c, Limit: limit, MaxWait: wait, Announced: -1})
	if err := l.Grow(t.Context(), n); err != nil {
		t.Fatalf("no room for %d bytes: %v", n, err)
	}
	return l
}

func TestBudgetCounts(t *testing.T) {
	b := New()
	l := upload(t, b, client(1), mega, 100, time.Second)
	if !l.TryGrow(50) || l.TryGrow(mega) {
		t.Error("tryGrow grants what does not fit, or not what does")
	}
	l.Shrink(20)
	if got := b.used.Load(); got != 130 {
		t.Errorf("used %d, want 130", got)
	}
	b.validate(t)
	for range 2 {
		if !l.Complete() {
			t.Error("an upload that has arrived does not count as such")
		}
	}
	if len(b.clients) != 0 {
		t.Error("a body that has arrived still counts as an upload")
	}
	l.ShrinkTo(30)
	l.ShrinkTo(500)
	if got := b.used.Load(); got != 30 {
		t.Errorf("used %d, want 30", got)
	}
	l.Close()
	l.Close()
	l.Shrink(10)
	if err := l.Grow(t.Context(), 1); err == nil || l.TryGrow(1) {
		t.Error("a closed lease grows")
	}
	wantEmpty(t, b)
}

// TestBudgetNeverAbove: what does not fit at all is refused at once.
func TestBudgetNeverAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		l := b.Open(Request{Client: client(1), Limit: mega, MaxWait: time.Second, Announced: -1})
		begin := time.Now()
		if err := l.Grow(t.Context(), mega+1); err != ErrNoRoom {
			t.Errorf("error %v", err)
		}
		if time.Since(begin) > 0 {
			t.Error("waited for what can never be")
		}
		l.Close()
		wantEmpty(t, b)
	})
}

// TestBudgetWaits: who finds no room waits for it, at most as long as it may.
func TestBudgetWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		first := upload(t, b, client(1), mega, 400_000, time.Second)
		first.Complete()
		if err := first.Grow(t.Context(), 500_000); err != nil {
			t.Fatal(err)
		}
		second := b.Open(Request{Client: client(2), Limit: mega, MaxWait: time.Second, Announced: -1})
		go func() {
			time.Sleep(700 * time.Millisecond)
			first.Close()
		}()
		begin := time.Now()
		if err := second.Grow(t.Context(), 200_000); err != nil || time.Since(begin) != 700*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		second.Complete()
		third := b.Open(Request{Client: client(3), Limit: mega, MaxWait: time.Second, Announced: -1})
		begin = time.Now()
		if err := third.Grow(t.Context(), 900_000); err != ErrNoRoom {
			t.Errorf("error %v", err)
		}
		if err := third.Grow(t.Context(), 900_000); err != ErrNoRoom || time.Since(begin) != time.Second {
			t.Errorf("%v after %v: patience is for the whole request", err, time.Since(begin))
		}
		second.Close()
		third.Close()
		wantEmpty(t, b)
	})
}

func TestBudgetClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		l := upload(t, b, client(1), mega, 400_000, time.Minute)
		l.Complete()
		other := b.Open(Request{Client: client(2), Limit: mega, MaxWait: time.Minute, Announced: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := other.Grow(ctx, 700_000); err != context.DeadlineExceeded {
			t.Errorf("error %v", err)
		}
		l.Close()
		other.Close()
		wantEmpty(t, b)
	})
}

// TestStalledUploadsYield: uploads that hang are given up, and only as many as
// are needed, when somebody else needs the room. Those that move are not.
func TestStalledUploadsYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		var interrupted atomic.Int32
		var stalled []*Lease
		for i := range 9 {
			l := b.Open(Request{Client: client(i % 3), Limit: mega, MaxWait: time.Second, Announced: -1, Interrupt: func() { interrupted.Add(1) }})
			if err := l.Grow(t.Context(), 100_000); err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, l)
		}
		moving := stalled[0]
		time.Sleep(10 * time.Second)
		moving.Progress(100_000)
		fresh := b.Open(Request{Client: client(9), Limit: mega, MaxWait: time.Second, Announced: -1})
		done := make(chan error)
		go func() { done <- fresh.Grow(t.Context(), 250_000) }()
		synctest.Wait()
		evicted := 0
		for _, l := range stalled {
			if l.Preempted() {
				evicted++
				l.Close() // what its request does once its read fails
			}
		}
		if err := <-done; err != nil {
			t.Errorf("no room beside stalled uploads: %v", err)
		}
		if evicted != 2 || int(interrupted.Load()) != 2 || moving.Preempted() {
			t.Errorf("%d given up, %d interrupted, the moving one: %t; want 2, 2, false", evicted, interrupted.Load(), moving.Preempted())
		}
		for _, l := range append(stalled, fresh) {
			l.Close()
		}
		wantEmpty(t, b)
	})
}

// TestShareOfOneClient: the unfinished uploads of one address get no more than
// a half, and the room they fight for is their own.
func TestShareOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		bad, good := client(1), client(2)
		var leases []*Lease
		for range 5 {
			leases = append(leases, upload(t, b, bad, mega, 100_000, time.Second))
		}
		goods := upload(t, b, good, mega, 100_000, time.Second)
		time.Sleep(time.Minute) // all of them stall
		more := b.Open(Request{Client: bad, Limit: mega, MaxWait: time.Second, Announced: -1})
		done := make(chan error)
		go func() { done <- more.Grow(t.Context(), 100_000) }()
		synctest.Wait()
		if goods.Preempted() {
			t.Error("another client's upload was given up for a full share")
		}
		n := 0
		for _, l := range leases {
			if l.Preempted() {
				n++
				l.Close()
			}
		}
		if err := <-done; err != nil || n != 1 {
			t.Errorf("error %v, %d given up, want none and 1", err, n)
		}
		for _, l := range append(leases, goods, more) {
			l.Close()
		}
		wantEmpty(t, b)
	})
}

// TestManyUploads: uploads that together are many times the limit go through
// one after the other when they announce their size.
func TestManyUploads(t *testing.T) {
	served, refused := manyUploads(t, 100, 500_000, 100_000)
	if served != 100 {
		t.Errorf("%d served, %d refused", served, refused)
	}
}

// TestTooManyUploads: when uploads that announce nothing fill the limit, some
// get through instead of all of them timing out together.
func TestTooManyUploads(t *testing.T) {
	served, refused := manyUploads(t, 100, 5_000_000, -1)
	if served < 20 {
		t.Errorf("%d served, %d refused", served, refused)
	}
}

// manyUploads lets many clients upload 100 kB each at the same time.
func manyUploads(t *testing.T, requests int, limit, announced int64) (served, refused int32) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		var yes, no atomic.Int32
		var wg sync.WaitGroup
		for i := range requests {
			wg.Go(func() {
				l := b.Open(Request{Client: client(i), Limit: limit, MaxWait: time.Second, Announced: announced})
				defer l.Close()
				for range 10 {
					if err := l.Grow(t.Context(), 10_000); err != nil {
						no.Add(1)
						return
					}
					l.Progress(10_000)
					time.Sleep(time.Millisecond)
				}
				l.Complete()
				time.Sleep(5 * time.Millisecond) // the engine
				yes.Add(1)
			})
		}
		wg.Wait()
		served, refused = yes.Load(), no.Load()
		wantEmpty(t, b)
	})
	return served, refused
}

// TestAnnouncedAndStalled: announcements of uploads that hang delay nobody.
func TestAnnouncedAndStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		var leases []*Lease
		for i := range 50 {
			l := b.Open(Request{Client: client(i), Limit: mega, MaxWait: time.Second, Announced: mega / 2})
			if l.TryGrow(5_000) {
				leases = append(leases, l)
			} else {
				l.Close()
			}
		}
		if len(leases) == 0 || b.total.pending == 0 {
			t.Fatal("nothing announced")
		}
		time.Sleep(time.Second)
		fresh := b.Open(Request{Client: client(99), Limit: mega, MaxWait: time.Second, Announced: mega / 2})
		begin := time.Now()
		if err := fresh.Grow(t.Context(), 400_000); err != nil || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		for _, l := range append(leases, fresh) {
			l.Close()
		}
		wantEmpty(t, b)
	})
}

// TestBudgetRandom: thousands of requests that end in every way leave an exact
// account at every step, and nothing at the end.
func TestBudgetRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		var wg sync.WaitGroup
		for i := range 1200 {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			wg.Go(func() {
				time.Sleep(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
				randomRequest(t, b, rnd)
				if used := b.used.Load(); used < 0 || used > mega {
					t.Errorf("used %d", used)
				}
				b.validate(t)
			})
		}
		wg.Wait()
		wantEmpty(t, b)
	})
}

// randomRequest lives a request's life up to a random end.
func randomRequest(t *testing.T, b *Queue, rnd *rand.Rand) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	limit := int64(mega / (1 + rnd.IntN(3)))
	l := b.Open(Request{Client: client(rnd.IntN(20)), Limit: limit, MaxWait: time.Duration(1+rnd.IntN(1000)) * time.Millisecond, Announced: int64(rnd.IntN(100_000)) - 1})
	defer l.Close()
	for rnd.IntN(6) > 0 {
		if rnd.IntN(20) == 0 {
			time.AfterFunc(time.Duration(rnd.IntN(500))*time.Millisecond, cancel)
		}
		if l.Grow(ctx, int64(rnd.IntN(60_000))) != nil {
			return
		}
		l.Progress(60_000)
		if rnd.IntN(10) == 0 {
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond) // stalls
		}
		l.Shrink(int64(rnd.IntN(20_000)))
		if l.Preempted() {
			return
		}
	}
	if !l.Complete() {
		return
	}
	l.TryGrow(int64(rnd.IntN(50_000)))
	time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
	l.ShrinkTo(int64(rnd.IntN(5000)))
	if rnd.IntN(2) == 0 {
		l.Close()
	}
}

func BenchmarkBudget(b *testing.B) {
	bu := New()
	for b.Loop() {
		l := bu.Open(Request{Client: client(1), Limit: mega, MaxWait: time.Second, Announced: -1})
		_ = l.Grow(b.Context(), 8192)
		l.Progress(8192)
		l.Complete()
		l.Close()
	}
}

// wantEmpty fails unless nothing is held of the queue.
func wantEmpty(t testing.TB, b *Queue) {
	t.Helper()
	b.validate(t)
	if s := b.Stats(); s != (Stats{}) || len(b.clients) != 0 || b.total != (tally{}) {
		t.Errorf("the queue is not empty: %+v, %d clients", s, len(b.clients))
	}
}
