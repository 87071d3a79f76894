// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sender is an upload as readBody makes it: the buffer grows as bytes arrive.
type sender struct {
	size  int64
	stop  int64         // after so many bytes it stalls
	drip  time.Duration // but for a byte every so often; 0: none
	known bool          // the size is announced
}

// terms are those of a client under the default options.
func (s sender) terms(n int) Request {
	announced := int64(-1)
	if s.known {
		announced = s.size
	}
	return Request{Client: client(n), Limit: 512_000_000, MaxWait: time.Second, Announced: announced}
}

// nextBuffer is how large a buffer follows one of held bytes.
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

// TestFlood: nobody is refused for what others upload. Fifty clients that hang
// in the middle of large uploads are in nobody's way, whatever their addresses
// are, and even two hundred that begin anew whenever they are thrown out, and
// keep sending a byte now and then, cannot keep a request of 4 MB out.
func TestFlood(t *testing.T) {
	for _, addresses := range []int{1, 2, 50} {
		for _, known := range []bool{true, false} {
			stalled := sender{size: 10_000_000, stop: 5_000_000, known: known}
			for _, size := range []int64{10_000, 4_000_000, 20_000_000} {
				t.Run(fmt.Sprintf("%d addresses, announced %t, stalled, %d bytes", addresses, known, size), func(t *testing.T) {
					flood(t, 50, addresses, 100, stalled, false, size)
				})
				if size > 4_000_000 {
					continue // of the same address it fights for the same share
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

// flood lets bad uploads come from a number of addresses, and meanwhile good
// ones from addresses from first on, one after the other.
func flood(t *testing.T, bad, addresses, first int, s sender, again bool, size int64) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		ctx, cancel := context.WithCancel(t.Context())
		var all, good sync.WaitGroup
		for i := range bad {
			all.Go(func() {
				for begun := true; begun || again && ctx.Err() == nil; begun = false {
					l := b.Open(s.terms(i % addresses))
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
				l := b.Open(g.terms(first + i))
				defer l.Close()
				begin := time.Now()
				if err := g.send(ctx, l); err != nil {
					t.Errorf("request %d: %v after %v", i, err, time.Since(begin))
				}
				b.validate(t)
			})
		}
		good.Wait()
		cancel()
		all.Wait()
		wantEmpty(t, b)
	})
}
