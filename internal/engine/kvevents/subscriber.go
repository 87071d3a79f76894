// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Set needs from outside.
type Options struct {
	// Open returns what is told about a publisher when following it begins,
	// and Closed (which may be nil) is called when it has ended: after Closed,
	// that Sink is not used any more. Both are called from the publisher's own
	// goroutine, and for one Source never at the same time.
	Open   func(Publisher) Sink
	Closed func(Publisher, Sink)

	Random func() float64 // from 0 to 1, for jitter; nil: rand.Float64
	Dial   Dial           // nil: ZMTP over TCP
}

// Set follows publishers: those that are named by See, for as long as they
// are. It is safe for concurrent use.
type Subscriber struct {
	options Options
	ctx     context.Context
	stop    context.CancelFunc
	replays chan struct{} // one for each publisher that is asked for history
	// applying has one for each batch that is being applied in turn.
	applying chan struct{}
	held     atomic.Int64 // bytes in queues beyond what each has free

	mu       sync.Mutex
	closed   bool
	followed map[Publisher]*follower
	named    map[name][]*follower // those that connect to us
	running  sync.WaitGroup
}

// name is what a publisher that connects to us is found by: the engine's
// address, or only the host of it, and the rank.
type name struct {
	address string
	rank    int
}

// NewSet returns a Set that follows nobody. Nothing runs before See.
func NewSubscriber(o Options) *Subscriber {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Dial == nil {
		o.Dial = dialZMTP(connOptions())
	}
	s := &Subscriber{
		options:  o,
		replays:  make(chan struct{}, maxReplays),
		applying: make(chan struct{}, atOnce()),
		followed: make(map[Publisher]*follower),
		named:    make(map[name][]*follower),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// See notes that publishers are of interest now, for the next minute, and
// begins to follow those that are not followed. It does not wait for anything.
func (s *Subscriber) Follow(sources ...Publisher) {
	now := time.Now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for _, source := range sources {
		f := s.followed[source]
		if f != nil {
			f.seen.Store(now)
			continue
		}
		if len(s.followed) >= maxFollowed {
			continue
		}
		f = newFollower(s, source)
		f.seen.Store(now)
		s.followed[source] = f
		for _, n := range namesOf(source) {
			s.named[n] = append(s.named[n], f)
		}
		s.running.Go(f.run)
	}
}

// Dismiss notes that publishers are of no interest any more: they are followed
// for no longer, unless they are seen again. It does not wait for the end.
func (s *Subscriber) Unfollow(sources ...Publisher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, source := range sources {
		if f := s.followed[source]; f != nil {
			f.dismiss()
		}
	}
}

// namesOf are the names under which a publisher that connects to us is found.
func namesOf(source Publisher) []name {
	if source.Events != "" {
		return nil
	}
	names := []name{{source.Upstream, source.Rank}}
	if host, _, err := net.SplitHostPort(source.Upstream); err == nil {
		names = append(names, name{host, source.Rank})
	}
	return names
}

// leave ends the following of a publisher that is not seen any more. It is
// false when it was seen again meanwhile.
func (s *Subscriber) leave(f *follower) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !f.unseen() {
		return false
	}
	delete(s.followed, f.source)
	for _, n := range namesOf(f.source) {
		rest := slices.DeleteFunc(s.named[n], func(o *follower) bool { return o == f })
		if len(rest) == 0 {
			delete(s.named, n)
		} else {
			s.named[n] = rest
		}
	}
	return true
}

// hand gives a connection to the follower of the publisher with an address (or,
// of a host with one engine, only that) and a rank. It is false when there is
// none.
func (s *Subscriber) hand(address string, rank int, a *accepted) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.named[name{address, rank}]
	if len(found) != 1 || s.closed {
		return false
	}
	found[0].accept(a)
	return true
}

// Close ends all following and waits for it to end. See does nothing any more.
func (s *Subscriber) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
}

// States returns what is known of the publishers of an upstream, or of all for
// "", in the order of their addresses and ranks.
func (s *Subscriber) States(upstream string) (states []State) {
	s.mu.Lock()
	for source, f := range s.followed {
		if upstream == "" || source.Upstream == upstream {
			states = append(states, f.snapshot())
		}
	}
	s.mu.Unlock()
	slices.SortFunc(states, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Publisher.Upstream, b.Publisher.Upstream), cmp.Compare(a.Publisher.Rank, b.Publisher.Rank),
			cmp.Compare(a.Publisher.Events, b.Publisher.Events), cmp.Compare(a.Publisher.Replay, b.Publisher.Replay))
	})
	return states
}
