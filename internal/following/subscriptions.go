// SPDX-License-Identifier: Apache-2.0

// Package following keeps the subscriptions to the KV events of all upstreams,
// and links the text of prompts to the tokens that those events speak of.
package following

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// forgetAfter is the time for which an upstream without a subscription is
// remembered: longer than the time between naming an upstream and subscribing
// to it.
const forgetAfter = 5 * time.Minute

// Subscriber is one policy's interest in KV events. Subscriptions tell policies
// apart by it.
type Subscriber struct {
	Events *Events // nil: the policy follows nothing

	// OnConflict is called once for an upstream that another policy of the same
	// config follows differently; the other policy's Events count. nil: nothing
	// is called.
	OnConflict func(upstream string)

	left       atomic.Bool   // its config is gone
	generation atomic.Uint64 // of its config; a newer config has a higher one. 0: not started
}

// Subscriptions keeps the subscriptions of all policies and hands their events
// to the router. There is one for all configs of the process. It is safe for
// concurrent use.
type Subscriptions struct {
	router *routing.Router
	client *kvevents.Subscriber

	mu        sync.Mutex
	upstreams map[string]*subscription // by address
	listeners map[string]*listeners    // by the host:port of the first rank
	freed     chan struct{}            // closed when some upstream has no subscriber any more

	generations uint64 // configs that have started
}

// subscription describes how one upstream is followed.
type subscription struct {
	events      *Events                  // of the subscribers
	subscribers map[*Subscriber]struct{} // with these events
	generation  uint64                   // of the newest of their configs
	named       time.Time                // when one of them last named the upstream
	feeds       map[kvevents.Publisher]*kvindex.Feed
	warned      bool // of a conflict
}

// NewSubscriptions returns Subscriptions that follow nothing yet.
func NewSubscriptions(router *routing.Router) *Subscriptions {
	s := &Subscriptions{
		router: router, upstreams: make(map[string]*subscription), listeners: make(map[string]*listeners), freed: make(chan struct{}),
	}
	s.client = kvevents.NewSubscriber(kvevents.Options{Open: s.open, Closed: s.closed})
	return s
}

// Start begins a config with its subscribers. It opens the ports that they
// listen at, and fails when it cannot.
func (s *Subscriptions) Start(subscribers []*Subscriber) error {
	s.mu.Lock()
	s.generations++
	generation := s.generations
	s.mu.Unlock()
	for _, subscriber := range subscribers {
		subscriber.generation.Store(generation)
		if err := s.listen(subscriber); err != nil {
			return err
		}
	}
	return nil
}

// Follow names upstreams, by dial address, that a subscriber may send requests
// to. Upstreams that no subscriber names are not followed any more after a
// minute. It does not block.
func (s *Subscriptions) Follow(subscriber *Subscriber, addresses []string) {
	if subscriber.Events == nil {
		return
	}
	now := time.Now()
	var publishers []kvevents.Publisher
	s.mu.Lock()
	defer s.mu.Unlock() // no subscriber leaves between the claim and the call below
	for _, address := range addresses {
		if of := subscriber.Events.Publishers(address); len(of) > 0 && s.claim(subscriber, address, now) {
			publishers = append(publishers, of...)
		}
	}
	s.client.Follow(publishers...)
}

// Freed returns a channel that is closed when some upstream has lost its last
// subscriber, so that others may name it again.
func (s *Subscriptions) Freed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed
}

// claim reports whether an upstream is to be followed as the subscriber says.
// It is not while a subscriber of the same or of a newer config follows it
// differently. Provisioning refuses such configs, but dynamic upstreams show
// only later. The caller holds mu.
func (s *Subscriptions) claim(subscriber *Subscriber, address string, now time.Time) bool {
	if subscriber.left.Load() {
		return false // a request of a config that was replaced
	}
	generation := subscriber.generation.Load()
	u := s.upstreams[address]
	switch {
	case u == nil:
		u = &subscription{events: subscriber.Events, subscribers: make(map[*Subscriber]struct{}), feeds: make(map[kvevents.Publisher]*kvindex.Feed)}
		s.upstreams[address] = u
	case *u.events == *subscriber.Events:
	case len(u.subscribers) == 0 || generation > u.generation:
		s.change(address, u, subscriber.Events)
	default:
		if generation == u.generation && !u.warned && subscriber.OnConflict != nil {
			u.warned = true
			subscriber.OnConflict(address)
		}
		return false
	}
	u.subscribers[subscriber], u.named, u.generation = struct{}{}, now, max(u.generation, generation)
	return true
}

// change follows an upstream in another way from now on. The caller holds mu.
func (s *Subscriptions) change(address string, u *subscription, events *Events) {
	wanted := events.Publishers(address)
	for _, publisher := range u.events.Publishers(address) {
		if !slices.Contains(wanted, publisher) {
			s.client.Unfollow(publisher)
		}
	}
	clear(u.subscribers)
	u.events, u.warned = events, false
	s.attach(address, u)
}

// open is called when the subscription to a publisher begins.
func (s *Subscriptions) open(p kvevents.Publisher) kvevents.Sink {
	// The name is unique: an old subscription to the same engine may still end.
	feed := s.router.Index().Feed(p.Upstream + " events " + p.Events + " " + strconv.Itoa(p.Rank) + " " + p.Replay)
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.upstreams[p.Upstream]; u != nil {
		u.feeds[p] = feed
		s.attach(p.Upstream, u)
	}
	return &sink{Feed: feed, router: s.router, address: p.Upstream}
}

// attach gives the router the feeds of an upstream when all ranks have one, and
// none before. The caller holds mu.
func (s *Subscriptions) attach(address string, u *subscription) {
	feeds := routing.Feeds{Weights: u.events.Weights}
	for _, publisher := range u.events.Publishers(address) {
		feed := u.feeds[publisher]
		if feed == nil {
			feeds = routing.Feeds{}
			break
		}
		feeds.Ranks = append(feeds.Ranks, feed)
	}
	s.router.Follow(address, feeds)
}

// closed is called when the subscription to a publisher has ended.
func (s *Subscriptions) closed(p kvevents.Publisher, opened kvevents.Sink) {
	feed := opened.(*sink).Feed
	s.mu.Lock()
	if u := s.upstreams[p.Upstream]; u != nil {
		delete(u.feeds, p)
		if len(u.feeds) == 0 && len(u.subscribers) == 0 {
			delete(s.upstreams, p.Upstream)
		}
	}
	s.mu.Unlock()
	s.router.Unfollow(p.Upstream, feed)
	s.router.Index().Drop(feed)
}

// feed returns the feed of a publisher; nil when it is not followed.
func (s *Subscriptions) feed(p kvevents.Publisher) *kvindex.Feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.upstreams[p.Upstream]; u != nil {
		return u.feeds[p]
	}
	return nil
}

// Forget drops the blocks known by an upstream's events. From then on only new
// events count.
func (s *Subscriptions) Forget(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.upstreams[address]; u != nil {
		for _, feed := range u.feeds {
			feed.Clear()
			feed.SetKnowledge(min(feed.Knowledge(), kvevents.Partial))
		}
	}
}

// Leave ends the subscriptions that only this subscriber wants: its config is
// gone.
func (s *Subscriptions) Leave(subscriber *Subscriber) {
	subscriber.left.Store(true)
	if subscriber.Events == nil {
		return
	}
	s.unlisten(subscriber)
	s.mu.Lock()
	defer s.mu.Unlock()
	freed := false
	for address, u := range s.upstreams {
		if _, wanted := u.subscribers[subscriber]; !wanted {
			continue
		}
		if delete(u.subscribers, subscriber); len(u.subscribers) > 0 {
			continue
		}
		freed = true
		s.client.Unfollow(u.events.Publishers(address)...)
		if len(u.feeds) == 0 {
			delete(s.upstreams, address)
		}
	}
	if freed {
		close(s.freed)
		s.freed = make(chan struct{})
	}
}

// Sweep forgets upstreams that are not followed any more, once they were not
// named for so long that no subscription to them can be under way.
func (s *Subscriptions) Sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for address, u := range s.upstreams {
		if len(u.feeds) == 0 && now.Sub(u.named) > forgetAfter {
			delete(s.upstreams, address)
		}
	}
}

// Close ends all subscriptions.
func (s *Subscriptions) Close() {
	s.mu.Lock()
	open := s.listeners
	s.listeners = make(map[string]*listeners)
	s.mu.Unlock()
	for _, l := range open {
		l.close()
	}
	s.client.Close()
}

// sink receives the events of one publisher.
type sink struct {
	*kvindex.Feed
	router  *routing.Router
	address string
}

// Apply applies an event. An engine that clears its cache has also lost the
// prompts recorded for it, unless the event is old and only replayed now.
func (s *sink) Apply(e *kvevents.Event) bool {
	if e.Kind == kvevents.Cleared && s.Knowledge() != kvevents.Unknown {
		s.router.CacheLost(s.address)
	}
	return s.Feed.Apply(e)
}
