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

// Options configure a Subscriber.
type Options struct {
	// Open returns the Sink for a publisher when following it begins. Closed, which
	// may be nil, is called when it has ended; that Sink is not used any more. Both
	// are called from the subscription's goroutine, for one Publisher never at the
	// same time.
	Open   func(Publisher) Sink
	Closed func(Publisher, Sink)

	Random func() float64 // from 0 to 1, for jitter; nil: rand.Float64
	Dial   Dial           // nil: ZMTP over TCP
}

// Subscriber follows the publishers that Follow names, for as long as it does. It
// is safe for concurrent use.
type Subscriber struct {
	options Options
	ctx     context.Context
	stop    context.CancelFunc
	replays chan struct{} // holds one for each replay under way
	// applying holds one for each batch that is being applied in turn.
	applying    chan struct{}
	queuedBytes atomic.Int64 // bytes in queues, beyond the free ones of each

	mu            sync.Mutex
	closed        bool
	subscriptions map[Publisher]*subscription
	byName        map[name][]*subscription // those that connect to us
	running       sync.WaitGroup
}

// name finds a publisher that connects to us: by the engine's address, or only its
// host, and the rank.
type name struct {
	address string
	rank    int
}

// NewSubscriber returns a Subscriber that follows no publisher yet.
func NewSubscriber(o Options) *Subscriber {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Dial == nil {
		o.Dial = dialZMTP(connOptions())
	}
	s := &Subscriber{
		options:       o,
		replays:       make(chan struct{}, maxReplays),
		applying:      make(chan struct{}, maxConcurrentApplies()),
		subscriptions: make(map[Publisher]*subscription),
		byName:        make(map[name][]*subscription),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Follow follows publishers for the next minute. It does not wait.
func (s *Subscriber) Follow(publishers ...Publisher) {
	now := time.Now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for _, publisher := range publishers {
		sub := s.subscriptions[publisher]
		if sub != nil {
			sub.wantedAt.Store(now)
			continue
		}
		if len(s.subscriptions) >= maxSubscriptions {
			continue
		}
		sub = newSubscription(s, publisher)
		sub.wantedAt.Store(now)
		s.subscriptions[publisher] = sub
		for _, n := range namesOf(publisher) {
			s.byName[n] = append(s.byName[n], sub)
		}
		s.running.Go(sub.run)
	}
}

// Unfollow stops following publishers until Follow names them again. It does not
// wait.
func (s *Subscriber) Unfollow(publishers ...Publisher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, publisher := range publishers {
		if sub := s.subscriptions[publisher]; sub != nil {
			sub.unfollow()
		}
	}
}

// namesOf returns the names of a publisher that connects to us.
func namesOf(publisher Publisher) []name {
	if publisher.Events != "" {
		return nil
	}
	names := []name{{publisher.Upstream, publisher.Rank}}
	if host, _, err := net.SplitHostPort(publisher.Upstream); err == nil {
		names = append(names, name{host, publisher.Rank})
	}
	return names
}

// remove drops a subscription that is unwanted. It returns false when Follow has
// named its publisher again.
func (s *Subscriber) remove(sub *subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !sub.unwanted() {
		return false
	}
	delete(s.subscriptions, sub.publisher)
	for _, n := range namesOf(sub.publisher) {
		rest := slices.DeleteFunc(s.byName[n], func(o *subscription) bool { return o == sub })
		if len(rest) == 0 {
			delete(s.byName, n)
		} else {
			s.byName[n] = rest
		}
	}
	return true
}

// assign gives a connection to the subscription with an address (or only a host,
// if that has one engine) and a rank. It returns false when there is none.
func (s *Subscriber) assign(address string, rank int, a *inbound) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.byName[name{address, rank}]
	if len(found) != 1 || s.closed {
		return false
	}
	found[0].takeOver(a)
	return true
}

// Close ends all subscriptions and waits for their end. Follow has no effect after
// that.
func (s *Subscriber) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
}

// States returns the states of the publishers of an upstream, or of all for "", in
// the order of their addresses and ranks.
func (s *Subscriber) States(upstream string) (states []State) {
	s.mu.Lock()
	for publisher, sub := range s.subscriptions {
		if upstream == "" || publisher.Upstream == upstream {
			states = append(states, sub.snapshot())
		}
	}
	s.mu.Unlock()
	slices.SortFunc(states, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Publisher.Upstream, b.Publisher.Upstream), cmp.Compare(a.Publisher.Rank, b.Publisher.Rank),
			cmp.Compare(a.Publisher.Events, b.Publisher.Events), cmp.Compare(a.Publisher.Replay, b.Publisher.Replay))
	})
	return states
}
