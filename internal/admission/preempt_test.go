// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Stalled uploads are preempted when a request needs the room, and only as many
// as it takes. Uploads that make progress are not.
func TestStalledUploadsArePreempted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		var interrupted atomic.Int32
		var stalled []*Lease
		for i := range 9 {
			l := q.Open(Request{Client: client(i % 3), Limit: mega, MaxWait: time.Second, Announced: -1, Interrupt: func() { interrupted.Add(1) }})
			if err := l.Grow(t.Context(), 100_000); err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, l)
		}
		moving := stalled[0]
		time.Sleep(10 * time.Second)
		moving.Progress(100_000)
		fresh := q.Open(Request{Client: client(9), Limit: mega, MaxWait: time.Second, Announced: -1})
		done := make(chan error)
		go func() { done <- fresh.Grow(t.Context(), 250_000) }()
		synctest.Wait()
		evicted := 0
		for _, l := range stalled {
			if l.Preempted() {
				evicted++
				l.Close() // as the handler does once its read fails
			}
		}
		if err := <-done; err != nil {
			t.Errorf("no room beside stalled uploads: %v", err)
		}
		if evicted != 2 || int(interrupted.Load()) != 2 || moving.Preempted() {
			t.Errorf("%d preempted, %d interrupted, the one with progress: %t; want 2, 2, false", evicted, interrupted.Load(), moving.Preempted())
		}
		for _, l := range append(stalled, fresh) {
			l.Close()
		}
		wantEmpty(t, q)
	})
}

// The incomplete uploads of one client get no more than its share, and preempt
// only each other.
func TestShareOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		bad, good := client(1), client(2)
		var leases []*Lease
		for range 5 {
			leases = append(leases, upload(t, q, bad, mega, 100_000, time.Second))
		}
		goods := upload(t, q, good, mega, 100_000, time.Second)
		time.Sleep(time.Minute) // all of them stall
		more := q.Open(Request{Client: bad, Limit: mega, MaxWait: time.Second, Announced: -1})
		done := make(chan error)
		go func() { done <- more.Grow(t.Context(), 100_000) }()
		synctest.Wait()
		if goods.Preempted() {
			t.Error("another client's upload was preempted for a full share")
		}
		n := 0
		for _, l := range leases {
			if l.Preempted() {
				n++
				l.Close()
			}
		}
		if err := <-done; err != nil || n != 1 {
			t.Errorf("error %v, %d preempted, want none and 1", err, n)
		}
		for _, l := range append(leases, goods, more) {
			l.Close()
		}
		wantEmpty(t, q)
	})
}

// sender is an upload into a buffer that grows as bytes arrive.
type sender struct {
	size  int64
	stop  int64         // the number of bytes after which it stalls
	drip  time.Duration // then the time between single bytes; 0: none arrive
	known bool          // the size is announced
}

// request returns the request of client n under the default options.
func (s sender) request(n int) Request {
	announced := int64(-1)
	if s.known {
		announced = s.size
	}
	return Request{Client: client(n), Limit: 512_000_000, MaxWait: time.Second, Announced: announced}
}

// nextBuffer returns the size of the buffer after one of held bytes.
func nextBuffer(held, announced int64) int64 {
	size := max(8<<10, 2*held)
	if held >= 1<<20 {
		size = held + held/2
	}
	if announced > held && (announced < size || announced <= 4*held) {
		size = announced + 512
	}
	return size
}

var errGone = errors.New("the client is gone")

// send sends at 100 MB/s.
func (s sender) send(ctx context.Context, l *Lease) error {
	const each = 400_000
	var got, held int64
	for got < s.size {
		pause, n := 4*time.Millisecond, min(each, s.size-got)
		if got >= s.stop {
			if pause, n = s.drip, 1; pause == 0 {
				pause, n = 10*time.Millisecond, 0
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errGone
		}
		for got+n > held {
			next := nextBuffer(held, l.Announced)
			if err := l.Grow(ctx, next); err != nil {
				return err
			}
			l.Shrink(held)
			held = next
		}
		got += n
		if n > 0 {
			l.Progress(int(n))
		}
		if l.Preempted() {
			return ErrPreempted
		}
	}
	if !l.Complete() {
		return ErrPreempted
	}
	return nil
}

// No request is refused because of others' uploads: not beside fifty uploads
// that stall half way, from however many addresses, and up to 4 MB not even
// beside two hundred that start again whenever they are preempted and send a
// byte now and then.
func TestFlood(t *testing.T) {
	counts := []int{1, 2, 50}
	if testing.Short() {
		counts = counts[1:2]
	}
	for _, addresses := range counts {
		for _, known := range []bool{true, false} {
			stalled := sender{size: 10_000_000, stop: 5_000_000, known: known}
			for _, size := range []int64{10_000, 4_000_000, 20_000_000} {
				t.Run(fmt.Sprintf("%d addresses, announced %t, stalled, %d bytes", addresses, known, size), func(t *testing.T) {
					flood(t, 50, addresses, 100, stalled, false, size)
				})
				if size > 4_000_000 {
					continue // from the same address it would need the same share
				}
				t.Run(fmt.Sprintf("%d addresses, announced %t, stalled, %d bytes from the same", addresses, known, size), func(t *testing.T) {
					flood(t, 50, addresses, 0, stalled, false, size)
				})
			}
			stalled.drip = 50 * time.Millisecond
			t.Run(fmt.Sprintf("%d addresses, announced %t, again and again", addresses, known), func(t *testing.T) {
				flood(t, 200, addresses, 100, stalled, true, 4_000_000)
			})
		}
	}
}

// flood runs bad uploads from a number of addresses, and beside them good ones,
// one after the other, from the addresses from first on.
func flood(t *testing.T, bad, addresses, first int, s sender, again bool, size int64) {
	synctest.Test(t, func(t *testing.T) {
		q := New()
		ctx, cancel := context.WithCancel(t.Context())
		var all, good sync.WaitGroup
		for i := range bad {
			all.Go(func() {
				for begun := true; begun || again && ctx.Err() == nil; begun = false {
					l := q.Open(s.request(i % addresses))
					_ = s.send(ctx, l)
					l.Close()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		for i := range 20 {
			good.Go(func() {
				time.Sleep(time.Duration(i) * 130 * time.Millisecond)
				g := sender{size: size, stop: size, known: true}
				l := q.Open(g.request(first + i))
				defer l.Close()
				begin := time.Now()
				if err := g.send(ctx, l); err != nil {
					t.Errorf("request %d: %v after %v", i, err, time.Since(begin))
				}
				q.validate(t)
			})
		}
		good.Wait()
		cancel()
		all.Wait()
		wantEmpty(t, q)
	})
}
