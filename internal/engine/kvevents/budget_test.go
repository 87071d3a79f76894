// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

func TestAccount(t *testing.T) {
	a := budget{divisor: 2, burst: 2 * time.Second}
	now := time.Unix(1000, 0)
	pass := func(d time.Duration) { now = now.Add(d) }
	want := func(cost, debt time.Duration) {
		t.Helper()
		if got := a.charge(cost, now); got != debt {
			t.Errorf("%v cost: a debt of %v, want %v", cost, got, debt)
		}
		if got := a.balance(now); got != debt {
			t.Errorf("%v cost: a balance of %v, want %v", cost, got, debt)
		}
	}
	want(0, -2*time.Second) // the initial saving
	want(3*time.Second, time.Second)
	want(time.Millisecond, 1001*time.Millisecond)
	pass(time.Second)
	want(0, 501*time.Millisecond)
	pass(1002 * time.Millisecond)
	want(0, 0)
	for range 1000 { // its share, for a long time
		pass(10 * time.Millisecond)
		want(5*time.Millisecond, 0)
	}
	pass(time.Hour) // no more than a burst is saved
	want(0, -2*time.Second)
	pass(-time.Hour)
	want(time.Second, -time.Second)
	want(-time.Hour, -time.Second)
	pass(math.MaxInt64)
	want(0, -2*time.Second)
}

// slowSink is a sink that takes a millisecond for each block.
type slowSink struct {
	*fakeSink
	busy, most *atomic.Int64
}

func (l slowSink) Apply(e *Event) bool {
	l.most.Store(max(l.most.Load(), l.busy.Add(1)))
	time.Sleep(time.Duration(len(e.Hashes)) * time.Millisecond)
	l.busy.Add(-1)
	return l.fakeSink.Apply(e)
}

// TestFloodsLeaveRoom: publishers that send as much as they can, live and as
// history, take their share of a core each and half of all cores together. Batches
// of a modest one are applied at once beside them, and unfollowing ends at once.
func TestFloodsLeaveRoom(t *testing.T) {
	for _, floods := range []int{1, 7} { // one reaches its own share, seven the share of all
		synctest.Test(t, func(t *testing.T) { leaveRoom(t, floods) })
	}
}

func leaveRoom(t *testing.T, floods int) {
	const cores = 2
	const work = 50 * time.Millisecond // of a flood's batch
	batch := batchOf(pairs{"type", "BlockStored", "block_hashes", list(make([]int, work/time.Millisecond)), "parent_block_hash", nil, "token_ids", []any{1}, "block_size", 1})
	w := newWorld()
	var busy, most atomic.Int64
	w.subscriber.options.Open = func(Publisher) Sink { return slowSink{newFakeSink(), &busy, &most} }
	w.subscriber.options.Closed = nil
	w.subscriber.applying = make(chan struct{}, cores)
	var publishers []Publisher
	for i := range floods {
		p := newFakePublisher()
		host := fmt.Sprint("flood", i)
		w.net.publishers[host] = p
		publishers = append(publishers, Publisher{Upstream: host + ":8000", Events: host + ":1", Replay: host + ":2"})
		for range 100 {
			p.publishRaw(batch)
		}
	}
	w.subscriber.Follow(append(publishers, publisher)...)
	synctest.Wait()
	for _, p := range w.net.publishers {
		for range 1000 * min(1, len(p.batches)) {
			p.publishRaw(batch)
		}
	}
	began := time.Now()
	for n := uint64(0); time.Since(began) < 20*time.Second; n++ {
		w.subscriber.Follow(append(publishers, publisher)...)
		w.p.store(n)
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if got := w.subscriber.States("a:8000")[0].Batches; got != n+1 {
			t.Fatalf("of %d batches of the modest publisher %d were applied", n+1, got)
		}
		time.Sleep(200 * time.Millisecond)
		if time.Since(began) < 5*time.Second {
			most.Store(0) // at first they have a burst each
		}
	}
	took := time.Since(began)
	var all, largest time.Duration
	for _, s := range publishers {
		got := time.Duration(w.subscriber.States(s.Upstream)[0].Batches) * work
		all, largest = all+got, max(largest, got)
	}
	t.Logf("%d floods: %v the largest, %v all, in %v", floods, largest, all, took)
	if may := shareBurst + took/shareDivisor + 2*work; largest > may || floods == 1 && largest < may-4*work {
		t.Errorf("one had %v of %v, %v are its share", largest, took, may)
	}
	if may := cores*took + time.Duration(floods)*shareBurst; all > may || floods > 2*cores && all < cores*took-time.Second {
		t.Errorf("all together had %v of %v on %d cores, %v are their share", all, took, cores, may)
	}
	if n := most.Load(); n > cores+1 || floods > 2*cores && n < cores { // one more for the modest publisher
		t.Errorf("%d batches were applied at the same time", n)
	}
	at := time.Now()
	w.subscriber.Unfollow(publishers...)
	for len(w.subscriber.States("")) > 1 {
		time.Sleep(time.Millisecond)
	}
	if took := time.Since(at); took > work+time.Millisecond { // for the batches under way
		t.Errorf("unfollowing takes %v", took)
	}
	w.subscriber.Close()
}

// unclaimedConn is a connection whose endless messages name no followed publisher.
type unclaimedConn struct {
	*fakeConn
	left *atomic.Int64
}

func (s unclaimedConn) ReceiveUntil(m *zmtp.Message, _ time.Time) error {
	if s.left.Add(-1) < 0 {
		return zmtp.ErrEnded
	}
	m.Parts = [][]byte{[]byte("kv@10.0.0.9:8000@m"), seqOf(1), {}}
	return nil
}

// TestUnclaimedTakeTurns: connections without a subscription together take their
// share of a core, however many they are. A followed publisher does not wait.
func TestUnclaimedTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.subscriber.Close()
		known := Publisher{Upstream: "10.0.0.1:8000"}
		w.subscriber.Follow(known)
		n := &Listener{subscriber: w.subscriber, unclaimed: budget{divisor: unclaimedDivisor, burst: unclaimedBurst}}
		n.ctx, n.stop = context.WithCancel(context.Background())
		messages := int64(1_000_000)
		if testing.Short() {
			messages = 600_000
		}
		var left atomic.Int64
		left.Store(messages)
		began := time.Now()
		var waiting sync.WaitGroup
		for range 20 {
			waiting.Go(func() {
				if n.awaitSubscription(unclaimedConn{newFakeConn(w.p), &left}) {
					t.Error("a connection was assigned that names no followed publisher")
				}
			})
		}
		time.Sleep(5 * time.Second)
		c := newFakeConn(w.p)
		c.messages <- msg{[]byte("kv@10.0.0.1:8000@m"), seqOf(0), batchOf(storeOf(1))}
		if at := time.Now(); !n.awaitSubscription(c) || time.Since(at) > 0 {
			t.Error("a followed publisher has to wait")
		}
		waiting.Wait()
		cost := time.Duration(messages) * (2*receiveBatchCost + 26*receiveByteCost)
		if took, least := time.Since(began), unclaimedDivisor*(cost-unclaimedBurst-minPause); took < least || took > 2*least {
			t.Errorf("took %v for %v of work, want at least %v and at most twice that", took, cost, least)
		}
		if n.Stats().Unknown != uint64(messages) {
			t.Errorf("%d unknown messages, want %d", n.Stats().Unknown, messages)
		}
		n.stop()
	})
}

// TestNoise: many messages that are no batches end the connection; a few do not.
func TestNoise(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.p.store(1)
		w.subscriber.Follow(publisher)
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
			noise(maxMalformed - 1)
			w.keep(malformedTime, publisher)
		}
		w.check(t, Complete)
		if s := w.state(); s.Malformed != 5*(maxMalformed-1) || s.Restarts != 0 || s.Failure != nil {
			t.Errorf("%+v", s)
		}
		noise(maxMalformed)
		synctest.Wait()
		if s := w.state(); s.Connected || s.Failure != ErrNoise || s.Knowledge != Unknown {
			t.Errorf("%+v", s)
		}
		w.keep(10*time.Second, publisher) // it is connected again, and heard
		w.p.store(2)
		w.check(t, Complete)
		if s := w.state(); s.Failure != nil || s.Batches == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestEndWhileOthersApply: a wait for a turn ends with the Subscriber.
func TestEndWhileOthersApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.subscriber.applying = make(chan struct{}) // never free
		var busy, most atomic.Int64
		w.subscriber.options.Open = func(Publisher) Sink { return slowSink{newFakeSink(), &busy, &most} }
		w.subscriber.options.Closed = nil
		w.p.publish(pairs{"type", "BlockStored", "block_hashes", list(make([]int, 3000)), "parent_block_hash", nil, "token_ids", []any{1}, "block_size", 1})
		w.p.store(1)
		w.subscriber.Follow(publisher)
		time.Sleep(time.Minute / 2)
		synctest.Wait()
		if s := w.state(); s.Batches != 1 {
			t.Fatalf("%d batches were applied without a turn: this shows nothing", s.Batches)
		}
		var closing sync.WaitGroup
		closing.Go(w.subscriber.Close)
		synctest.Wait()
		closing.Wait()
	})
}
