// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// validate compares the sums that q keeps with its leases.
func (q *Queue) validate(t testing.TB) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	all, held := tally{}, int64(0)
	clients := make(map[netip.Addr]tally)
	for l := range q.uploads {
		if !l.uploading || l.closed || l.held < 0 {
			t.Errorf("the list of uploads holds one that has ended")
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
	if all != q.total || held > q.used.Load() {
		t.Errorf("uploads: counted %+v, sum %+v of %d", q.total, all, q.used.Load())
	}
	for addr, c := range q.clients {
		if clients[addr] != *c || c.uploads == 0 {
			t.Errorf("client %v: counted %+v, sum %+v", addr, c, clients[addr])
		}
	}
	reserved := int64(0)
	for _, w := range q.waiting {
		if w.reserved {
			reserved += w.n
		}
		if !w.lease.waiting || w.lease.closed {
			t.Error("a waiter in the queue does not wait")
		}
	}
	if reserved != q.reserved {
		t.Errorf("reserved: counted %d, sum %d", q.reserved, reserved)
	}
}

// wantEmpty fails unless no request holds anything or waits.
func wantEmpty(t testing.TB, q *Queue) {
	t.Helper()
	q.validate(t)
	if s := q.Stats(); s != (Stats{}) || len(q.clients) != 0 || q.total != (tally{}) {
		t.Errorf("the queue is not empty: %+v, %d clients", s, len(q.clients))
	}
}

const mega = 1_000_000

func client(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

// upload opens an incomplete upload that holds n bytes.
func upload(t testing.TB, q *Queue, c netip.Addr, limit, n int64, wait time.Duration) *Lease {
	t.Helper()
	l := q.Open(Request{Client: c, Limit: limit, MaxWait: wait, Announced: -1})
	if err := l.Grow(t.Context(), n); err != nil {
		t.Fatalf("no room for %d bytes: %v", n, err)
	}
	return l
}

// Requests that end in every way keep the sums right at every step and leave
// nothing behind.
func TestQueueRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		var wg sync.WaitGroup
		for i := range 1200 {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			wg.Go(func() {
				time.Sleep(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
				randomRequest(t, q, rnd)
				if used := q.used.Load(); used < 0 || used > mega {
					t.Errorf("used %d", used)
				}
				q.validate(t)
			})
		}
		wg.Wait()
		wantEmpty(t, q)
	})
}

// randomRequest runs one request up to a random end.
func randomRequest(t *testing.T, q *Queue, rnd *rand.Rand) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	limit := int64(mega / (1 + rnd.IntN(3)))
	l := q.Open(Request{Client: client(rnd.IntN(20)), Limit: limit, MaxWait: time.Duration(1+rnd.IntN(1000)) * time.Millisecond, Announced: int64(rnd.IntN(100_000)) - 1})
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

func BenchmarkQueue(b *testing.B) {
	q := New()
	for b.Loop() {
		l := q.Open(Request{Client: client(1), Limit: mega, MaxWait: time.Second, Announced: -1})
		_ = l.Grow(b.Context(), 8192)
		l.Progress(8192)
		l.Complete()
		l.Close()
	}
}
