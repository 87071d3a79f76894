// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A request above the limit is refused at once.
func TestQueueNeverAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		l := q.Open(Request{Client: client(1), Limit: mega, MaxWait: time.Second, Announced: -1})
		begin := time.Now()
		if err := l.Grow(t.Context(), mega+1); err != ErrNoRoom {
			t.Errorf("error %v", err)
		}
		if time.Since(begin) > 0 {
			t.Error("it waited for room that can never come")
		}
		l.Close()
		wantEmpty(t, q)
	})
}

// A request that finds no room waits, at most MaxWait over all its waits.
func TestQueueWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		first := upload(t, q, client(1), mega, 400_000, time.Second)
		first.Complete()
		if err := first.Grow(t.Context(), 500_000); err != nil {
			t.Fatal(err)
		}
		second := q.Open(Request{Client: client(2), Limit: mega, MaxWait: time.Second, Announced: -1})
		go func() {
			time.Sleep(700 * time.Millisecond)
			first.Close()
		}()
		begin := time.Now()
		if err := second.Grow(t.Context(), 200_000); err != nil || time.Since(begin) != 700*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		second.Complete()
		third := q.Open(Request{Client: client(3), Limit: mega, MaxWait: time.Second, Announced: -1})
		begin = time.Now()
		if err := third.Grow(t.Context(), 900_000); err != ErrNoRoom {
			t.Errorf("error %v", err)
		}
		if err := third.Grow(t.Context(), 900_000); err != ErrNoRoom || time.Since(begin) != time.Second {
			t.Errorf("%v after %v: MaxWait is for the whole request", err, time.Since(begin))
		}
		second.Close()
		third.Close()
		wantEmpty(t, q)
	})
}

func TestQueueClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		l := upload(t, q, client(1), mega, 400_000, time.Minute)
		l.Complete()
		other := q.Open(Request{Client: client(2), Limit: mega, MaxWait: time.Minute, Announced: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := other.Grow(ctx, 700_000); err != context.DeadlineExceeded {
			t.Errorf("error %v", err)
		}
		l.Close()
		other.Close()
		wantEmpty(t, q)
	})
}

// Uploads that announce their size complete one after the other, although all
// together are many times the limit.
func TestManyUploads(t *testing.T) {
	served, refused := manyUploads(t, 100, 500_000, 100_000)
	if served != 100 {
		t.Errorf("%d served, %d refused", served, refused)
	}
}

// When uploads that announce nothing fill the limit, some complete and not all
// of them time out together.
func TestTooManyUploads(t *testing.T) {
	served, refused := manyUploads(t, 100, 5_000_000, -1)
	if served < 20 {
		t.Errorf("%d served, %d refused", served, refused)
	}
}

// manyUploads has as many clients upload 100 kB each at the same time.
func manyUploads(t *testing.T, requests int, limit, announced int64) (served, refused int32) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		var yes, no atomic.Int32
		var wg sync.WaitGroup
		for i := range requests {
			wg.Go(func() {
				l := q.Open(Request{Client: client(i), Limit: limit, MaxWait: time.Second, Announced: announced})
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
		wantEmpty(t, q)
	})
	return served, refused
}

// The announcements of stalled uploads delay no other upload.
func TestAnnouncedAndStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		var leases []*Lease
		for i := range 50 {
			l := q.Open(Request{Client: client(i), Limit: mega, MaxWait: time.Second, Announced: mega / 2})
			if l.TryGrow(5_000) {
				leases = append(leases, l)
			} else {
				l.Close()
			}
		}
		if len(leases) == 0 || q.total.pending == 0 {
			t.Fatal("no upload announced anything")
		}
		time.Sleep(time.Second)
		fresh := q.Open(Request{Client: client(99), Limit: mega, MaxWait: time.Second, Announced: mega / 2})
		begin := time.Now()
		if err := fresh.Grow(t.Context(), 400_000); err != nil || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		for _, l := range append(leases, fresh) {
			l.Close()
		}
		wantEmpty(t, q)
	})
}
