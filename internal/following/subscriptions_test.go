// SPDX-License-Identifier: Apache-2.0

package following

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/internal/routing"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
)

// nobody is an address at which nothing listens: subscriptions to it never
// connect.
const nobody = "tcp://127.0.0.1:1"

// startConfig returns the subscriber of a config that has started.
func startConfig(s *Subscriptions, e Events) *Subscriber {
	p := newSubscriber(e)
	if err := s.Start([]*Subscriber{p}); err != nil {
		panic(err)
	}
	return p
}

// newSubscriber fills in the defaults of its events.
func newSubscriber(e Events) *Subscriber {
	e.Ranks = max(1, e.Ranks)
	return &Subscriber{Events: &e}
}

func newTestSubscriptions(t *testing.T) *Subscriptions {
	s := NewSubscriptions(routing.New(2_000_000, func() time.Time { return time.Unix(1000, 0) }))
	t.Cleanup(s.Close)
	return s
}

// sendPrompt makes the router believe that an upstream holds a prompt.
func sendPrompt(router *routing.Router, address string, chain ...uint64) {
	r := router.NewRequest(routing.Prompt{Chain: chain, Tokens: 1000, BlockTokens: 64})
	r.Route([]routing.Candidate{{Address: address}}, false)
	r.Confirm()
	r.End()
}

// until waits for other goroutines.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// followed lists the addresses of the publishers that have a feed.
func (s *Subscriptions) followed() (events []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.upstreams {
		for p := range u.feeds {
			events = append(events, fmt.Sprint(p.Events, " ", p.Rank))
		}
	}
	slices.Sort(events)
	return events
}

func untilFollowed(t *testing.T, s *Subscriptions, want ...string) {
	t.Helper()
	until(t, fmt.Sprint("exactly these are followed: ", want), func() bool { return slices.Equal(s.followed(), want) })
}

func feedOf(t *testing.T, s *Subscriptions, upstream string) *kvindex.Feed {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, feed := range s.upstreams[upstream].feeds {
		return feed
	}
	t.Fatal("no feed")
	return nil
}

// stored is an engine's event of one block of 16 tokens.
func stored() *kvevents.Event {
	return &kvevents.Event{Kind: kvevents.Stored, Root: true, Hashes: []uint64{7}, Tokens: make([]uint32, 16), BlockSize: 16}
}

func TestFollowingWithReloads(t *testing.T) {
	f := newTestSubscriptions(t)
	old := startConfig(f, Events{Address: nobody})
	f.Follow(old, []string{"a:8000", "unix//run/engine", "b:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0", "127.0.0.1:1 0")

	same := startConfig(f, Events{Address: nobody})
	feed := feedOf(t, f, "a:8000")
	f.Follow(same, []string{"a:8000"})
	f.Leave(old)
	untilFollowed(t, f, "127.0.0.1:1 0")
	if feedOf(t, f, "a:8000") != feed {
		t.Fatal("an upstream that both configs follow was dropped in between")
	}
	f.Follow(old, []string{"b:8000"}) // a request of the old config
	if len(f.client.States("b:8000")) != 0 {
		t.Fatal("an upstream is followed for a config that is gone")
	}

	other := startConfig(f, Events{Address: "tcp://127.0.0.1:2", Ranks: 2})
	freed := f.Freed()
	f.Follow(other, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:2 0", "127.0.0.1:3 1")
	f.Follow(same, []string{"a:8000"}) // the config before is still there
	untilFollowed(t, f, "127.0.0.1:2 0", "127.0.0.1:3 1")
	f.Leave(other) // its config could not start
	select {
	case <-freed:
	default:
		t.Fatal("the Freed channel is not closed though the upstream is free")
	}
	f.Follow(same, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")

	f.Leave(same)
	until(t, "nothing is left", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.upstreams) == 0 && f.router.Index().Stats().Feeds == 0 && len(f.client.States("")) == 0
	})
}

// When only the use of the events changes, their streams go on.
func TestFollowingWithOtherWeights(t *testing.T) {
	f := newTestSubscriptions(t)
	old := startConfig(f, Events{Address: nobody})
	f.Follow(old, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")
	feed := feedOf(t, f, "a:8000")
	feed.Apply(stored())
	if sizes := f.router.BlockSizes(); len(sizes) != 1 {
		t.Fatalf("followed: %v", sizes)
	}
	renewed := startConfig(f, Events{Address: nobody, Weights: kvevents.TierWeights{1, 0.5, 0}})
	f.Follow(renewed, []string{"a:8000"})
	f.Leave(old)
	if sizes := f.router.BlockSizes(); len(sizes) != 1 || feedOf(t, f, "a:8000") != feed {
		t.Fatalf("after a change of weights the block sizes are %v, or the feed is another one", sizes)
	}
	// The same port, asked for history too, is another stream.
	replay := startConfig(f, Events{Address: nobody, Replay: "tcp://127.0.0.1:9"})
	f.Follow(replay, []string{"a:8000"})
	f.Leave(renewed)
	until(t, "the stream with history is another", func() bool {
		states := f.client.States("a:8000")
		return len(states) == 1 && states[0].Publisher.Replay != "" && len(f.followed()) == 1
	})
	if now := feedOf(t, f, "a:8000"); now == feed || !now.Apply(stored()) {
		t.Fatal("the new stream has the feed of the one that has ended")
	}
}

// Policies of one config may differ about an upstream that shows only when
// requests come: the first one counts, and the conflict is logged once.
func TestFollowingDifferently(t *testing.T) {
	f := newTestSubscriptions(t)
	var conflicts []string
	conflict := func(address string) { conflicts = append(conflicts, address) }
	first, second := newSubscriber(Events{Address: nobody}), newSubscriber(Events{Address: "tcp://127.0.0.1:2"})
	first.OnConflict, second.OnConflict = conflict, conflict
	if err := f.Start([]*Subscriber{first, second}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.Follow(first, []string{"a:8000"})
		f.Follow(second, []string{"a:8000"})
	}
	untilFollowed(t, f, "127.0.0.1:1 0")
	if !slices.Equal(conflicts, []string{"a:8000"}) {
		t.Fatalf("conflicts: %v", conflicts)
	}
	f.Follow(new(Subscriber), []string{"a:8000"}) // one without events
}

// Upstreams that were named only for a while are not remembered for ever.
func TestFollowingSweeps(t *testing.T) {
	f := newTestSubscriptions(t)
	p := startConfig(f, Events{Address: nobody})
	f.Follow(p, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")
	f.Sweep(time.Now().Add(2 * forgetAfter))
	if len(f.upstreams) != 1 {
		t.Fatal("a followed upstream is forgotten")
	}
	f.client.Unfollow(p.Events.Publishers("a:8000")...) // as after a minute unseen
	untilFollowed(t, f)
	f.Sweep(time.Now())
	if len(f.upstreams) != 1 {
		t.Fatal("an upstream named just now is forgotten")
	}
	f.Sweep(time.Now().Add(2 * forgetAfter))
	if len(f.upstreams) != 0 {
		t.Fatal("an upstream is remembered for ever")
	}
	f.Follow(p, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")
}

// An engine that clears its cache also loses the prompts recorded for it. An old
// event that is only replayed now does not.
func TestClearedForgetsWhatWasSent(t *testing.T) {
	f := newTestSubscriptions(t)
	p := startConfig(f, Events{Address: nobody})
	f.Follow(p, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")
	sink := &sink{Feed: feedOf(t, f, "a:8000"), router: f.router, address: "a:8000"}
	sendPrompt(f.router, "a:8000", 1, 2, 3)
	sink.Apply(&kvevents.Event{Kind: kvevents.Cleared})
	if n := f.router.Stats().Blocks; n != 3 {
		t.Fatalf("%d blocks are left after an old event", n)
	}
	sink.SetKnowledge(kvevents.Partial)
	sink.Apply(&kvevents.Event{Kind: kvevents.Cleared})
	if n := f.router.Stats().Blocks; n != 0 {
		t.Fatalf("%d blocks are left of an empty cache", n)
	}
}

// When a user makes the gateway forget an upstream, it also drops the blocks
// known by events, and later events are not the whole state.
func TestForgetIsOfEventsToo(t *testing.T) {
	f := newTestSubscriptions(t)
	p := startConfig(f, Events{Address: nobody})
	f.Follow(p, []string{"a:8000", "b:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0", "127.0.0.1:1 0")
	for _, address := range []string{"a:8000", "b:8000"} {
		feed := feedOf(t, f, address)
		feed.Apply(stored())
		feed.SetKnowledge(kvevents.Complete)
	}
	if n := f.router.Stats().Blocks; n != 1 {
		t.Fatalf("%d blocks", n)
	}
	f.Forget("a:8000")
	if a, b := feedOf(t, f, "a:8000").Knowledge(), feedOf(t, f, "b:8000").Knowledge(); a != kvevents.Partial || b != kvevents.Complete {
		t.Fatalf("known: %v and %v", a, b)
	}
	f.Forget("b:8000")
	if n := f.router.Stats().Blocks; n != 0 || feedOf(t, f, "b:8000").Knowledge() != kvevents.Partial {
		t.Fatalf("%d blocks after all was forgotten", n)
	}
	if !feedOf(t, f, "b:8000").Apply(stored()) || f.router.Stats().Blocks != 1 {
		t.Fatal("nothing is learned any more")
	}
}

// freePorts returns an address with that many ports in a row, outside the range
// from which the kernel picks ports.
func freePorts(t *testing.T, n int) string {
	t.Helper()
	for range 100 {
		first, free := fmt.Sprint("127.0.0.1:", 15000+rand.IntN(15000)), true
		for i := range n {
			l, err := net.Listen("tcp", endpoint.AddPort(first, i))
			if free = free && err == nil; err == nil {
				l.Close()
			}
		}
		if free {
			return first
		}
	}
	t.Fatal("no free ports")
	return ""
}

func TestListening(t *testing.T) {
	f := newTestSubscriptions(t)
	at := freePorts(t, 2)
	connects := func(rank int) bool {
		c, err := net.Dial("tcp", endpoint.AddPort(at, rank))
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	old := startConfig(f, Events{Listen: at})
	if !connects(0) || connects(1) {
		t.Fatal("not exactly the first rank's port is open")
	}
	renewed := startConfig(f, Events{Listen: at, Ranks: 2})
	f.Leave(old)
	if !connects(0) || !connects(1) {
		t.Fatal("the ports are not open after a reload")
	}
	f.Follow(renewed, []string{"a:8000"})
	until(t, "both ranks are followed", func() bool { return len(f.followed()) == 2 })
	f.Leave(renewed)
	if connects(0) || connects(1) || len(f.listeners) != 0 {
		t.Fatal("a port without a subscriber is open")
	}
	f.Leave(renewed) // has no effect a second time

	taken, err := net.Listen("tcp", endpoint.AddPort(at, 1))
	if err != nil {
		t.Fatal(err) // the port must be free at once
	}
	defer taken.Close()
	p := newSubscriber(Events{Listen: at, Ranks: 2})
	if err := f.Start([]*Subscriber{p}); err != errListening {
		t.Fatalf("a port in use: error %v", err)
	}
	if connects(0) || len(f.listeners) != 0 {
		t.Fatal("the other port of a config that failed is open")
	}
}
