// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

// chainSink keeps the blocks of the publisher's command "chain", each the child of
// the one before.
type chainSink struct {
	t      *testing.T
	tokens int // of each block

	mu      sync.Mutex
	blocks  []uint64
	known   kvevents.Knowledge
	clears  int
	changed chan struct{} // holds one after a change
}

func newHeld(t *testing.T, tokens int) *chainSink {
	return &chainSink{t: t, tokens: tokens, changed: make(chan struct{}, 1)}
}

func (h *chainSink) change(do func()) {
	h.mu.Lock()
	do()
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *chainSink) Apply(e *kvevents.Event) bool {
	h.change(func() {
		n := len(h.blocks)
		switch {
		case e.Kind != kvevents.Stored || len(e.Hashes) != 1 || len(e.Tokens) != h.tokens || e.BlockSize != h.tokens:
			h.t.Errorf("got kind %d with %d hashes and %d tokens", e.Kind, len(e.Hashes), len(e.Tokens))
		case e.Root != (n == 0) || n > 0 && e.Parent != h.blocks[n-1]:
			h.t.Errorf("block %d: root %v, parent %d", n, e.Root, e.Parent)
		case e.Tokens[0] != uint32(n*h.tokens) || e.Tokens[h.tokens-1] != uint32((n+1)*h.tokens-1):
			h.t.Errorf("block %d: tokens from %d to %d", n, e.Tokens[0], e.Tokens[h.tokens-1])
		}
		h.blocks = append(h.blocks, e.Hashes[0])
	})
	return true
}

func (h *chainSink) Clear() {
	h.change(func() {
		h.blocks = nil
		h.clears++
	})
}

func (h *chainSink) SetKnowledge(k kvevents.Knowledge) { h.change(func() { h.known = k }) }

// await waits for a number of blocks from a first one, and for complete knowledge.
func (h *chainSink) await(blocks int, first uint64) {
	h.t.Helper()
	timeout := time.NewTimer(3 * patience)
	defer timeout.Stop()
	for {
		h.mu.Lock()
		n, known := len(h.blocks), h.known
		done := n == blocks && known == kvevents.Complete && h.blocks[0] == first && h.blocks[n-1] == first+uint64(n)-1
		h.mu.Unlock()
		if done {
			return
		}
		select {
		case <-h.changed:
		case <-timeout.C:
			h.t.Fatalf("%d blocks are held, not %d; the knowledge is %v", n, blocks, known)
		}
	}
}

// follow follows one publisher.
func follow(t *testing.T, h *chainSink, target kvevents.Publisher, dial kvevents.Dial) *kvevents.Subscriber {
	t.Helper()
	s := kvevents.NewSubscriber(kvevents.Options{Open: func(kvevents.Publisher) kvevents.Sink { return h }, Dial: dial})
	keepFollowing(t, s, target)
	t.Cleanup(s.Close)
	return s
}

// keepFollowing follows a publisher until the test ends, as requests do: after a
// minute without them a subscription ends.
func keepFollowing(t *testing.T, s *kvevents.Subscriber, target kvevents.Publisher) {
	s.Follow(target)
	stop := make(chan struct{})
	var seeing sync.WaitGroup
	seeing.Go(func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.Follow(target)
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		seeing.Wait()
	})
}

// state waits until the state counts a number of batches, which it does after the
// sink got them.
func state(t *testing.T, subscriber *kvevents.Subscriber, batches int) kvevents.State {
	t.Helper()
	for start := time.Now(); time.Since(start) < patience; {
		if s := subscriber.States("")[0]; s.Batches >= uint64(batches) {
			if s.Batches > uint64(batches) {
				t.Fatalf("%d batches were applied, of %d", s.Batches, batches)
			}
			return s
		}
	}
	t.Fatal("the state does not count all batches")
	return kvevents.State{}
}

func (p *publisher) target() kvevents.Publisher {
	return kvevents.Publisher{Upstream: "10.0.0.1:8000", Events: p.where.Events, Replay: p.where.Replay}
}

// slowStart is a connection that begins to read when the publisher has sent all of
// its answer, so that most of it is dropped.
type slowStart struct {
	*zmtp.Conn
	wait func()
	once sync.Once
}

func (l *slowStart) ReceiveUntil(m *zmtp.Message, deadline time.Time) error {
	l.once.Do(func() {
		start := time.Now()
		l.wait()
		deadline = deadline.Add(time.Since(start))
	})
	return l.Conn.ReceiveUntil(m, deadline)
}

// TestFollowerLosesNothingBeyondTheHighWaterMark reads 10,000 batches from a ROUTER
// that drops messages beyond its mark, in both encodings and forms of replay.
func TestFollowerLosesNothingBeyondTheHighWaterMark(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of real time")
	}
	const batches, tokens = 10_000, 512 // of 2.5 KB
	for _, c := range []struct {
		name  string
		array bool
		slow  bool
		args  []string
	}{
		{"maps, slow", false, true, []string{"--topic-in-replay"}},
		{"arrays, slow", true, true, nil},
		{"maps", false, false, []string{"--topic-in-replay"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := publish(t, c.args...)
			p.do(map[string]any{"chain": map[string]any{"times": batches, "tokens": tokens, "array": c.array}})
			var attempts atomic.Int64 // replays are dialled one at a time
			dial := func(ctx context.Context, address string, s zmtp.Socket) (kvevents.Conn, error) {
				conn, err := zmtp.Dial(ctx, address, s, zmtp.Options{})
				if err != nil {
					return nil, err
				}
				if s != zmtp.DEALER {
					return conn, nil
				}
				n := attempts.Add(1)
				return &slowStart{Conn: conn, wait: func() {
					for c.slow && p.do(map[string]any{}).Replays < int(n) {
					}
				}}, nil
			}
			h := newHeld(t, tokens)
			start := time.Now()
			subscriber := follow(t, h, p.target(), dial)
			h.await(batches, 0)
			t.Logf("%d batches after %v and %d attempts", batches, time.Since(start), attempts.Load())
			if c.slow && attempts.Load() < 2 {
				t.Error("nothing was dropped, so this shows nothing")
			}
			p.do(map[string]any{"chain": map[string]any{"times": 100, "tokens": tokens, "array": c.array}})
			h.await(batches+100, 0)
			s := state(t, subscriber, batches+100)
			if s.Events != batches+100 || s.Losses+s.Malformed+s.Unindexed != 0 || s.Failure != nil || h.clears > 2 {
				t.Errorf("%d times cleared, %+v", h.clears, s)
			}
		})
	}
}

// TestFollowerClosesGaps: missed batches are asked for.
func TestFollowerClosesGaps(t *testing.T) {
	p := publish(t, "--topic-in-replay")
	h := newHeld(t, 16)
	subscriber := follow(t, h, p.target(), nil)
	total := 0
	chain := func(times int, lost bool) {
		p.do(map[string]any{"chain": map[string]any{"times": times, "tokens": 16, "array": false, "lost": lost}})
		total += times
	}
	for subscriber.States("")[0].Last.IsZero() { // until the subscription has taken effect
		chain(1, false)
		h.await(total, 0)
	}
	missed := state(t, subscriber, total).Gaps // earlier batches were missed, and silence may have shown that
	for range 5 {
		chain(3, true)
		chain(1, false)
		h.await(total, 0)
	}
	if s := state(t, subscriber, total); s.Gaps != missed+5 || s.Losses != 0 {
		t.Errorf("%d gaps before, %+v", missed, s)
	}
}

// TestFollowerSurvivesARestart: a new process at the same ports has a new cache.
func TestFollowerSurvivesARestart(t *testing.T) {
	p := publish(t)
	h := newHeld(t, 16)
	follow(t, h, p.target(), nil)
	chain := func(p *publisher, first uint64, times int) {
		p.do(map[string]any{"chain": map[string]any{"times": times, "tokens": 16, "array": true, "first": first}})
	}
	chain(p, 0, 50)
	h.await(50, 0)
	for i := range 3 {
		p.kill()
		p = publish(t, "--events", p.where.Events, "--replay", p.where.Replay)
		first, times := uint64(1000*(i+1)), 20*(i+3) // fewer than before, then more
		chain(p, first, times)
		h.await(times, first)
	}
}

// TestListenerFollowsPublishersThatDialOut: the topic names the engine.
func TestListenerFollowsPublishersThatDialOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newHeld(t, 16)
	subscriber := kvevents.NewSubscriber(kvevents.Options{Open: func(kvevents.Publisher) kvevents.Sink { return h }})
	t.Cleanup(subscriber.Close)
	listener := kvevents.NewListener(subscriber, l, 0)
	defer listener.Close()
	p := publish(t, "--connect", l.Addr().String(), "--topic", "kv@10.0.0.1:8000@model")
	target := p.target()
	target.Events = ""
	keepFollowing(t, subscriber, target)
	total := 0
	for start := time.Now(); ; { // until the subscription has taken effect
		p.do(map[string]any{"chain": map[string]any{"times": 1, "tokens": 16, "array": false}})
		total++
		if subscriber.States("")[0].Connected {
			break
		}
		if time.Since(start) > patience {
			t.Fatalf("no publisher was found: %+v", listener.Stats())
		}
	}
	h.await(total, 0)
}
