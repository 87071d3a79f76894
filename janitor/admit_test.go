// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// validate recounts what the budget says of itself.
func (b *budget) validate(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	all, held := account{}, int64(0)
	clients := make(map[netip.Addr]account)
	for l := range b.uploads {
		if !l.upload || l.closed || l.held < 0 {
			t.Errorf("upload list holds a lease that is none")
		}
		c := clients[l.client]
		for _, a := range []*account{&c, &all} {
			a.uploads++
			a.held += l.held
			a.promise += l.promise
		}
		clients[l.client] = c
		held += l.held
	}
	if all != b.all || held > b.used.Load() {
		t.Errorf("uploads: counted %+v, sum %+v of %d", b.all, all, b.used.Load())
	}
	for addr, c := range b.clients {
		if clients[addr] != *c || c.uploads == 0 {
			t.Errorf("client %v: counted %+v, sum %+v", addr, c, clients[addr])
		}
	}
	kept := int64(0)
	for _, w := range b.waiting {
		if w.first {
			kept += w.n
		}
		if !w.lease.waiting || w.lease.closed {
			t.Error("queue holds a waiter that does not wait")
		}
	}
	if kept != b.kept {
		t.Errorf("room kept: counted %d, sum %d", b.kept, kept)
	}
}

const mega = 1_000_000

func client(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

// upload starts a lease that holds n bytes and has not arrived.
func upload(t testing.TB, b *budget, c netip.Addr, limit, n int64, wait time.Duration) *lease {
	t.Helper()
	l := b.open(terms{client: c, limit: limit, patience: wait, announced: -1})
	if err := l.grow(t.Context(), n); err != nil {
		t.Fatalf("no room for %d bytes: %v", n, err)
	}
	return l
}

func TestBudgetCounts(t *testing.T) {
	b := newBudget()
	l := upload(t, b, client(1), mega, 100, time.Second)
	if !l.tryGrow(50) || l.tryGrow(mega) {
		t.Error("tryGrow grants what does not fit, or not what does")
	}
	l.shrink(20)
	if got := b.used.Load(); got != 130 {
		t.Errorf("used %d, want 130", got)
	}
	b.validate(t)
	for range 2 {
		if !l.arrived() {
			t.Error("an upload that has arrived does not count as such")
		}
	}
	if len(b.clients) != 0 {
		t.Error("a body that has arrived still counts as an upload")
	}
	l.keep(30)
	l.keep(500)
	if got := b.used.Load(); got != 30 {
		t.Errorf("used %d, want 30", got)
	}
	l.close()
	l.close()
	l.shrink(10)
	if err := l.grow(t.Context(), 1); err == nil || l.tryGrow(1) {
		t.Error("a closed lease grows")
	}
	wantEmpty(t, b)
}

// TestBudgetNeverAbove: what does not fit at all is refused at once.
func TestBudgetNeverAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		l := b.open(terms{client: client(1), limit: mega, patience: time.Second, announced: -1})
		begin := time.Now()
		if err := l.grow(t.Context(), mega+1); err != errNoRoom {
			t.Errorf("error %v", err)
		}
		if time.Since(begin) > 0 {
			t.Error("waited for what can never be")
		}
		l.close()
		wantEmpty(t, b)
	})
}

// TestBudgetWaits: who finds no room waits for it, at most as long as it may.
func TestBudgetWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		first := upload(t, b, client(1), mega, 400_000, time.Second)
		first.arrived()
		if err := first.grow(t.Context(), 500_000); err != nil {
			t.Fatal(err)
		}
		second := b.open(terms{client: client(2), limit: mega, patience: time.Second, announced: -1})
		go func() {
			time.Sleep(700 * time.Millisecond)
			first.close()
		}()
		begin := time.Now()
		if err := second.grow(t.Context(), 200_000); err != nil || time.Since(begin) != 700*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		second.arrived()
		third := b.open(terms{client: client(3), limit: mega, patience: time.Second, announced: -1})
		begin = time.Now()
		if err := third.grow(t.Context(), 900_000); err != errNoRoom {
			t.Errorf("error %v", err)
		}
		if err := third.grow(t.Context(), 900_000); err != errNoRoom || time.Since(begin) != time.Second {
			t.Errorf("%v after %v: patience is for the whole request", err, time.Since(begin))
		}
		second.close()
		third.close()
		wantEmpty(t, b)
	})
}

func TestBudgetClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		l := upload(t, b, client(1), mega, 400_000, time.Minute)
		l.arrived()
		other := b.open(terms{client: client(2), limit: mega, patience: time.Minute, announced: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := other.grow(ctx, 700_000); err != context.DeadlineExceeded {
			t.Errorf("error %v", err)
		}
		l.close()
		other.close()
		wantEmpty(t, b)
	})
}

// TestStalledUploadsYield: uploads that hang are given up, and only as many as
// are needed, when somebody else needs the room. Those that move are not.
func TestStalledUploadsYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		var interrupted atomic.Int32
		var stalled []*lease
		for i := range 9 {
			l := b.open(terms{client: client(i % 3), limit: mega, patience: time.Second, announced: -1, interrupt: func() { interrupted.Add(1) }})
			if err := l.grow(t.Context(), 100_000); err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, l)
		}
		moving := stalled[0]
		time.Sleep(10 * time.Second)
		moving.progress(100_000)
		fresh := b.open(terms{client: client(9), limit: mega, patience: time.Second, announced: -1})
		done := make(chan error)
		go func() { done <- fresh.grow(t.Context(), 250_000) }()
		synctest.Wait()
		evicted := 0
		for _, l := range stalled {
			if l.wasEvicted() {
				evicted++
				l.close() // what its request does once its read fails
			}
		}
		if err := <-done; err != nil {
			t.Errorf("no room beside stalled uploads: %v", err)
		}
		if evicted != 2 || int(interrupted.Load()) != 2 || moving.wasEvicted() {
			t.Errorf("%d given up, %d interrupted, the moving one: %t; want 2, 2, false", evicted, interrupted.Load(), moving.wasEvicted())
		}
		for _, l := range append(stalled, fresh) {
			l.close()
		}
		wantEmpty(t, b)
	})
}

// TestShareOfOneClient: the unfinished uploads of one address get no more than
// a half, and the room they fight for is their own.
func TestShareOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		bad, good := client(1), client(2)
		var leases []*lease
		for range 5 {
			leases = append(leases, upload(t, b, bad, mega, 100_000, time.Second))
		}
		goods := upload(t, b, good, mega, 100_000, time.Second)
		time.Sleep(time.Minute) // all of them stall
		more := b.open(terms{client: bad, limit: mega, patience: time.Second, announced: -1})
		done := make(chan error)
		go func() { done <- more.grow(t.Context(), 100_000) }()
		synctest.Wait()
		if goods.wasEvicted() {
			t.Error("another client's upload was given up for a full share")
		}
		n := 0
		for _, l := range leases {
			if l.wasEvicted() {
				n++
				l.close()
			}
		}
		if err := <-done; err != nil || n != 1 {
			t.Errorf("error %v, %d given up, want none and 1", err, n)
		}
		for _, l := range append(leases, goods, more) {
			l.close()
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
		b := newBudget()
		var yes, no atomic.Int32
		var wg sync.WaitGroup
		for i := range requests {
			wg.Go(func() {
				l := b.open(terms{client: client(i), limit: limit, patience: time.Second, announced: announced})
				defer l.close()
				for range 10 {
					if err := l.grow(t.Context(), 10_000); err != nil {
						no.Add(1)
						return
					}
					l.progress(10_000)
					time.Sleep(time.Millisecond)
				}
				l.arrived()
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
		b := newBudget()
		var leases []*lease
		for i := range 50 {
			l := b.open(terms{client: client(i), limit: mega, patience: time.Second, announced: mega / 2})
			if l.tryGrow(5_000) {
				leases = append(leases, l)
			} else {
				l.close()
			}
		}
		if len(leases) == 0 || b.all.promise == 0 {
			t.Fatal("nothing announced")
		}
		time.Sleep(time.Second)
		fresh := b.open(terms{client: client(99), limit: mega, patience: time.Second, announced: mega / 2})
		begin := time.Now()
		if err := fresh.grow(t.Context(), 400_000); err != nil || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		for _, l := range append(leases, fresh) {
			l.close()
		}
		wantEmpty(t, b)
	})
}

// TestBudgetRandom: thousands of requests that end in every way leave an exact
// account at every step, and nothing at the end.
func TestBudgetRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
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
func randomRequest(t *testing.T, b *budget, rnd *rand.Rand) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	limit := int64(mega / (1 + rnd.IntN(3)))
	l := b.open(terms{client: client(rnd.IntN(20)), limit: limit, patience: time.Duration(1+rnd.IntN(1000)) * time.Millisecond, announced: int64(rnd.IntN(100_000)) - 1})
	defer l.close()
	for rnd.IntN(6) > 0 {
		if rnd.IntN(20) == 0 {
			time.AfterFunc(time.Duration(rnd.IntN(500))*time.Millisecond, cancel)
		}
		if l.grow(ctx, int64(rnd.IntN(60_000))) != nil {
			return
		}
		l.progress(60_000)
		if rnd.IntN(10) == 0 {
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond) // stalls
		}
		l.shrink(int64(rnd.IntN(20_000)))
		if l.wasEvicted() {
			return
		}
	}
	if !l.arrived() {
		return
	}
	l.tryGrow(int64(rnd.IntN(50_000)))
	time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
	l.keep(int64(rnd.IntN(5000)))
	if rnd.IntN(2) == 0 {
		l.close()
	}
}

func TestClientAddr(t *testing.T) {
	cases := []struct{ remote, clientIP, want string }{
		{"192.0.2.1:1234", "", "192.0.2.1"},
		{"192.0.2.1:1234", "198.51.100.7", "198.51.100.7"},
		{"[2001:db8:1:2:3:4:5:6]:1234", "", "2001:db8:1:2::"},
		{"192.0.2.1:1234", "::ffff:198.51.100.7", "198.51.100.7"},
		{"192.0.2.1:1234", "fe80::1%eth0", "fe80::"},
		{"@", "", "invalid IP"},
	}
	for _, c := range cases {
		r := newRequest("POST", "/", nil)
		r.RemoteAddr = c.remote
		if c.clientIP != "" {
			caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, c.clientIP)
		}
		if got := clientAddr(r).String(); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.remote, c.clientIP, got, c.want)
		}
	}
}

func BenchmarkBudget(b *testing.B) {
	bu := newBudget()
	for b.Loop() {
		l := bu.open(terms{client: client(1), limit: mega, patience: time.Second, announced: -1})
		_ = l.grow(b.Context(), 8192)
		l.progress(8192)
		l.arrived()
		l.close()
	}
}
