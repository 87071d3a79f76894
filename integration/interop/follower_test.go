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

// held is a sink that keeps the blocks of the publisher's command "chain", of
// which each is the child of the one before.
type held struct {
	t      *testing.T
	tokens int // of each block

	mu      sync.Mutex
	blocks  []uint64
	known   kvevents.Knowledge
	clears  int
	changed chan struct{} // holds one after a change
}

func newHeld(t *testing.T, tokens int) *held {
	return &held{t: t, tokens: tokens, changed: make(chan struct{}, 1)}
}

func (h *held) change(do func()) {
	h.mu.Lock()
	do()
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *held) Apply(e *kvevents.Event) bool {
	h.change(func() {
		n := len(h.blocks)
		switch {
		case e.Kind != kvevents.Stored || len(e.Hashes) != 1 || len(e.Tokens) != h.tokens || e.BlockSize != h.tokens:
			h.t.Errorf("got kind %d with %d hashes and %d tokens", e.Kind, len(e.Hashes), len(e.Tokens))
		case e.Root != (n == 0) || n > 0 && e.Parent != h.blocks[n-1]:
			h.t.Errorf("block %d: a root is %v, of parent %d", n, e.Root, e.Parent)
		case e.Tokens[0] != uint32(n*h.tokens) || e.Tokens[h.tokens-1] != uint32((n+1)*h.tokens-1):
			h.t.Errorf("block %d: tokens from %d to %d", n, e.Tokens[0], e.Tokens[h.tokens-1])
		}
		h.blocks = append(h.blocks, e.Hashes[0])
	})
	return true
}

func (h *held) Clear() {
	h.change(func() {
		h.blocks = nil
		h.clears++
	})
}

func (h *held) SetKnowledge(k kvevents.Knowledge) { h.change(func() { h.known = k }) }

// await waits until so many blocks are held, from a first one, and known to be
// all there are.
func (h *held) await(blocks int, first uint64) {
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
			h.t.Fatalf("%d blocks are held, not %d; what is known is %v", n, blocks, known)
		}
	}
}

// follow follows one publisher.
func follow(t *testing.T, h *held, source kvevents.Publisher, dial kvevents.Dial) *kvevents.Subscriber {
	t.Helper()
	s := kvevents.NewSubscriber(kvevents.Options{Open: func(kvevents.Publisher) kvevents.Sink { return h }, Dial: dial})
	see(t, s, source)
	t.Cleanup(s.Close)
	return s
}

// see sees a source until the test ends, as requests do: who is not seen for a
// minute is not followed any more.
func see(t *testing.T, s *kvevents.Subscriber, source kvevents.Publisher) {
	s.Follow(source)
	stop := make(chan struct{})
	var seeing sync.WaitGroup
	seeing.Go(func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.Follow(source)
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

// state waits until the state tells of so many batches: it does so after the
// sink was told.
func state(t *testing.T, set *kvevents.Subscriber, batches int) kvevents.State {
	t.Helper()
	for start := time.Now(); time.Since(start) < patience; {
		if s := set.States("")[0]; s.Batches >= uint64(batches) {
			if s.Batches > uint64(batches) {
				t.Fatalf("%d batches were applied, of %d", s.Batches, batches)
			}
			return s
		}
	}
	t.Fatal("the state does not tell of all batches")
	return kvevents.State{}
}

func (p *publisher) source() kvevents.Publisher {
	return kvevents.Publisher{Upstream: "10.0.0.1:8000", Events: p.where.Events, Replay: p.where.Replay}
}

// late is a connection that begins to read when the publisher has sent all of
// its answer, so that most of that is dropped.
type late struct {
	*zmtp.Conn
	wait func()
	once sync.Once
}

func (l *late) ReceiveUntil(m *zmtp.Message, deadline time.Time) error {
	l.once.Do(func() {
		start := time.Now()
		l.wait()
		deadline = deadline.Add(time.Since(start))
	})
	return l.Conn.ReceiveUntil(m, deadline)
}

// TestFollowerLosesNothingBeyondTheHighWaterMark: 10,000 batches from a ROUTER
// that drops what is beyond its mark, in both encodings and forms of replay.
func TestFollowerLosesNothingBeyondTheHighWaterMark(t *testing.T) {
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
			var attempts atomic.Int64 // the follower dials one at a time
			dial := func(ctx context.Context, address string, s zmtp.Socket) (kvevents.Conn, error) {
				conn, err := zmtp.Dial(ctx, address, s, zmtp.Options{})
				if err != nil {
					return nil, err
				}
				if s != zmtp.DEALER {
					return conn, nil
				}
				n := attempts.Add(1)
				return &late{Conn: conn, wait: func() {
					for c.slow && p.do(map[string]any{}).Replays < int(n) {
					}
				}}, nil
			}
			h := newHeld(t, tokens)
			start := time.Now()
			set := follow(t, h, p.source(), dial)
			h.await(batches, 0)
			t.Logf("%d batches after %v and %d attempts", batches, time.Since(start), attempts.Load())
			if c.slow && attempts.Load() < 2 {
				t.Error("nothing was dropped, so this shows nothing")
			}
			p.do(map[string]any{"chain": map[string]any{"times": 100, "tokens": tokens, "array": c.array}})
			h.await(batches+100, 0)
			s := state(t, set, batches+100)
			if s.Events != batches+100 || s.Losses+s.Malformed+s.Unindexed != 0 || s.Failure != nil || h.clears > 2 {
				t.Errorf("%d times cleared, %+v", h.clears, s)
			}
		})
	}
}

// TestFollowerClosesGaps: batches that a subscriber has missed are asked for.
func TestFollowerClosesGaps(t *testing.T) {
	p := publish(t, "--topic-in-replay")
	h := newHeld(t, 16)
	set := follow(t, h, p.source(), nil)
	total := 0
	chain := func(times int, lost bool) {
		p.do(map[string]any{"chain": map[string]any{"times": times, "tokens": 16, "array": false, "lost": lost}})
		total += times
	}
	for set.States("")[0].Last.IsZero() { // until the subscription has taken effect
		chain(1, false)
		h.await(total, 0)
	}
	missed := state(t, set, total).Gaps // what was published before that is missed, and may be found by silence
	for range 5 {
		chain(3, true)
		chain(1, false)
		h.await(total, 0)
	}
	if s := state(t, set, total); s.Gaps != missed+5 || s.Losses != 0 {
		t.Errorf("%d gaps before, %+v", missed, s)
	}
}

// TestFollowerSurvivesARestart: another process at the same ports has another
// cache.
func TestFollowerSurvivesARestart(t *testing.T) {
	p := publish(t)
	h := newHeld(t, 16)
	follow(t, h, p.source(), nil)
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

// TestListenerFollowsWhoDialsOut: the topic says whose events they are.
func TestListenerFollowsWhoDialsOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newHeld(t, 16)
	set := kvevents.NewSubscriber(kvevents.Options{Open: func(kvevents.Publisher) kvevents.Sink { return h }})
	t.Cleanup(set.Close)
	listener := kvevents.NewListener(set, l, 0)
	defer listener.Close()
	p := publish(t, "--connect", l.Addr().String(), "--topic", "kv@10.0.0.1:8000@model")
	source := p.source()
	source.Events = ""
	see(t, set, source)
	total := 0
	for start := time.Now(); ; { // until the subscription has taken effect
		p.do(map[string]any{"chain": map[string]any{"times": 1, "tokens": 16, "array": false}})
		total++
		if set.States("")[0].Connected {
			break
		}
		if time.Since(start) > patience {
			t.Fatalf("nobody was found: %+v", listener.Stats())
		}
	}
	h.await(total, 0)
}
