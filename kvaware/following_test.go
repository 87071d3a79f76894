// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/internal/routing"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
)

// nobody is where nothing listens: what is followed there never connects.
const nobody = "tcp://127.0.0.1:1"

// startConfig returns a config's policy that has started.
func startConfig(s *following, e Events) *Policy {
	p := &Policy{Events: &e, sight: new(sight), logger: zap.NewNop()}
	if err := s.prepare(map[*Policy]*placement{p: {}}); err != nil {
		panic(err)
	}
	return p
}

// stopConfig is what happens to a policy when its config is gone.
func stopConfig(s *following, p *Policy) {
	p.sight.gone.Store(true)
	s.dismiss(p)
}

// until waits for what happens in other goroutines.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// followed lists the publishers of which a feed is there, by their addresses.
func (s *following) followed() (events []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.upstreams {
		for source := range u.feeds {
			events = append(events, fmt.Sprint(source.Events, " ", source.Rank))
		}
	}
	slices.Sort(events)
	return events
}

func untilFollowed(t *testing.T, s *following, want ...string) {
	t.Helper()
	until(t, fmt.Sprint("exactly these are followed: ", want), func() bool { return slices.Equal(s.followed(), want) })
}

func feedOf(t *testing.T, s *following, upstream string) *kvindex.Feed {
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

// Following has begun when all ranks of some upstream have a place for what they
// say, and not before.
func TestFollowingBegins(t *testing.T) {
	s := newFollowing(routing.New(2_000_000, time.Now))
	defer s.close()
	if s.begun() {
		t.Error("it has begun with nobody")
	}
	two := &Events{Address: nobody, Ranks: 2}
	s.upstreams["a:1"] = &streams{events: two, users: make(map[*Policy]struct{}), feeds: make(map[kvevents.Publisher]*kvindex.Feed)}
	sources := two.sources("a:1")
	for i, source := range sources {
		if s.begun() {
			t.Errorf("it has begun with %d ranks of %d", i, len(sources))
		}
		s.open(source)
	}
	if len(sources) != 2 || !s.begun() {
		t.Errorf("it has not begun with all %d ranks", len(sources))
	}
	s.closed(sources[1], &sink{Feed: s.feed(sources[1]), fleet: s.fleet, address: "a:1"})
	if s.begun() {
		t.Error("it has begun where one of two ranks has ended")
	}
}

func TestFollowingWithReloads(t *testing.T) {
	s := newTestShared()
	defer s.Destruct()
	f := s.following
	old := startConfig(f, Events{Address: nobody})
	f.follow(old, []string{"a:8000", "unix//run/engine", "b:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0", "127.0.0.1:1 0")

	same := startConfig(f, Events{Address: nobody})
	feed := feedOf(t, f, "a:8000")
	f.follow(same, []string{"a:8000"})
	stopConfig(f, old)
	untilFollowed(t, f, "127.0.0.1:1 0")
	if feedOf(t, f, "a:8000") != feed {
		t.Fatal("what both configs follow was let go in between")
	}
	f.follow(old, []string{"b:8000"}) // a request of the old config
	if len(f.set.States("b:8000")) != 0 {
		t.Fatal("a config that is gone has something followed")
	}

	other := startConfig(f, Events{Address: "tcp://127.0.0.1:2", Ranks: 2})
	freed := f.followAll(map[*Policy]*placement{other: at("a:8000")})
	untilFollowed(t, f, "127.0.0.1:2 0", "127.0.0.1:3 1")
	f.follow(same, []string{"a:8000"}) // the config before is still there
	untilFollowed(t, f, "127.0.0.1:2 0", "127.0.0.1:3 1")
	stopConfig(f, other) // it could not start
	select {
	case <-freed:
	default:
		t.Fatal("nobody is told that the upstream is free")
	}
	f.follow(same, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")

	stopConfig(f, same)
	until(t, "nothing is left", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.upstreams) == 0 && s.router.Index().Stats().Feeds == 0 && len(f.set.States("")) == 0
	})
}

// Where only what is made of the events changes, their streams go on.
func TestFollowingWithOtherWeights(t *testing.T) {
	s := newTestShared()
	defer s.Destruct()
	f := s.following
	old := startConfig(f, Events{Address: nobody})
	f.follow(old, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")
	feed := feedOf(t, f, "a:8000")
	feed.Apply(stored())
	if sizes := s.router.BlockSizes(); len(sizes) != 1 {
		t.Fatalf("followed: %v", sizes)
	}
	renewed := startConfig(f, Events{Address: nobody, TierWeight: map[string]float64{"cpu": 0.5}})
	f.follow(renewed, []string{"a:8000"})
	stopConfig(f, old)
	if sizes := s.router.BlockSizes(); len(sizes) != 1 || feedOf(t, f, "a:8000") != feed {
		t.Fatalf("after weights have changed the fleet knows of %v", sizes)
	}
	// The same port, asked for history too, is another stream.
	replay := startConfig(f, Events{Address: nobody, Replay: "tcp://127.0.0.1:9"})
	f.follow(replay, []string{"a:8000"})
	stopConfig(f, renewed)
	until(t, "the stream with history is another", func() bool {
		states := f.set.States("a:8000")
		return len(states) == 1 && states[0].Publisher.Replay != "" && len(f.followed()) == 1
	})
	if now := feedOf(t, f, "a:8000"); now == feed || !now.Apply(stored()) {
		t.Fatal("the new stream has the feed of the one that has ended")
	}
}

// Policies of one config that differ about an upstream which shows only when
// requests come: the first counts, and it is said once.
func TestFollowingDifferently(t *testing.T) {
	s := newTestShared()
	defer s.Destruct()
	f := s.following
	core, logs := observer.New(zapcore.WarnLevel)
	first := &Policy{Events: &Events{Address: nobody}, sight: new(sight), logger: zap.New(core)}
	second := &Policy{Events: &Events{Address: "tcp://127.0.0.1:2"}, sight: new(sight), logger: zap.New(core)}
	if err := f.prepare(map[*Policy]*placement{first: {}, second: {}}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.follow(first, []string{"a:8000"})
		f.follow(second, []string{"a:8000"})
	}
	untilFollowed(t, f, "127.0.0.1:1 0")
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "differently") {
		t.Fatalf("logged: %v", logs.All())
	}
	f.follow(new(Policy), []string{"a:8000"}) // one without events
}

// Upstreams that were only named for a while are not remembered for ever.
func TestFollowingSweeps(t *testing.T) {
	s := newTestShared()
	defer s.Destruct()
	f := s.following
	p := startConfig(f, Events{Address: nobody})
	f.follow(p, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")
	f.sweep(time.Now().Add(2 * forgetUpstream))
	if len(f.upstreams) != 1 {
		t.Fatal("an upstream is forgotten that is followed")
	}
	f.set.Unfollow(p.Events.sources("a:8000")...) // as after a minute unseen
	untilFollowed(t, f)
	f.sweep(time.Now())
	if len(f.upstreams) != 1 {
		t.Fatal("an upstream is forgotten that was named just now")
	}
	f.sweep(time.Now().Add(2 * forgetUpstream))
	if len(f.upstreams) != 0 {
		t.Fatal("an upstream is remembered for ever")
	}
	f.follow(p, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")
}

// An engine that clears its cache holds nothing of what was sent to it either;
// what it did long ago and is only read now says nothing of that.
func TestClearedForgetsWhatWasSent(t *testing.T) {
	s := newTestShared()
	defer s.Destruct()
	f := s.following
	p := startConfig(f, Events{Address: nobody})
	f.follow(p, []string{"a:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0")
	sink := &sink{Feed: feedOf(t, f, "a:8000"), fleet: s.router, address: "a:8000"}
	hold(s, "a:8000", 1, 2, 3)
	sink.Apply(&kvevents.Event{Kind: kvevents.Cleared})
	if n := s.router.Stats().Blocks; n != 3 {
		t.Fatalf("%d blocks are left after an old event", n)
	}
	sink.SetKnowledge(kvevents.Partial)
	sink.Apply(&kvevents.Event{Kind: kvevents.Cleared})
	if n := s.router.Stats().Blocks; n != 0 {
		t.Fatalf("%d blocks are left of an empty cache", n)
	}
}

// What users make the gateway forget is forgotten of the engines' own word too,
// and what it says from then on is not all.
func TestForgetIsOfEventsToo(t *testing.T) {
	s := newTestShared()
	defer s.Destruct()
	f := s.following
	p := startConfig(f, Events{Address: nobody})
	f.follow(p, []string{"a:8000", "b:8000"})
	untilFollowed(t, f, "127.0.0.1:1 0", "127.0.0.1:1 0")
	for _, address := range []string{"a:8000", "b:8000"} {
		feed := feedOf(t, f, address)
		feed.Apply(stored())
		feed.SetKnowledge(kvevents.Complete)
	}
	if n := s.router.Stats().Blocks; n != 1 {
		t.Fatalf("%d blocks", n)
	}
	s.forget("a:8000")
	if a, b := feedOf(t, f, "a:8000").Knowledge(), feedOf(t, f, "b:8000").Knowledge(); a != kvevents.Partial || b != kvevents.Complete {
		t.Fatalf("known: %v and %v", a, b)
	}
	s.forgetAll()
	if n := s.router.Stats().Blocks; n != 0 || feedOf(t, f, "b:8000").Knowledge() != kvevents.Partial {
		t.Fatalf("%d blocks after all was forgotten", n)
	}
	if !feedOf(t, f, "b:8000").Apply(stored()) || s.router.Stats().Blocks != 1 {
		t.Fatal("nothing is learned any more")
	}
}

// freePorts returns an address with that many ports behind each other, out of the
// range from which the kernel gives ports to those who do not care.
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
	s := newTestShared()
	defer s.Destruct()
	f := s.following
	at := freePorts(t, 2)
	connects := func(rank int) bool {
		c, err := net.Dial("tcp", endpoint.AddPort(at, rank))
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	old := startConfig(f, Events{Listen: "tcp://" + at})
	if !connects(0) || connects(1) {
		t.Fatal("not exactly the first rank's port is open")
	}
	renewed := startConfig(f, Events{Listen: "tcp://" + at, Ranks: 2})
	stopConfig(f, old)
	if !connects(0) || !connects(1) {
		t.Fatal("the ports are not open after a reload")
	}
	f.follow(renewed, []string{"a:8000"})
	until(t, "both ranks are followed", func() bool { return len(f.followed()) == 2 })
	stopConfig(f, renewed)
	if connects(0) || connects(1) || len(f.listeners) != 0 {
		t.Fatal("a port is open that nobody wants")
	}
	stopConfig(f, renewed) // again: nothing to do

	taken, err := net.Listen("tcp", endpoint.AddPort(at, 1))
	if err != nil {
		t.Fatal(err) // it was to be free at once
	}
	defer taken.Close()
	p := &Policy{Events: &Events{Listen: "tcp://" + at, Ranks: 2}, sight: new(sight)}
	if err := f.prepare(map[*Policy]*placement{p: {}}); err != errListening {
		t.Fatalf("a port that somebody has: error %v", err)
	}
	if connects(0) || len(f.listeners) != 0 {
		t.Fatal("the config has failed, and its other port is open")
	}
}
