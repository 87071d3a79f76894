// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/kvaware/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/kvaware/fleet"
	"github.com/bauxite/caddy-kvaware/kvaware/residency"
)

// followInterval is how often a policy names its static upstreams, so that
// their engines are followed also while no requests come.
const followInterval = 20 * time.Second

// following brings what engines publish to the fleet. Like the fleet it is
// there once for all configs of the process.
type following struct {
	fleet *fleet.Fleet
	set   *kvevents.Set

	mu        sync.Mutex
	upstreams map[string]*streams   // by address
	listeners map[string]*listening // by the host:port of the first rank
}

// streams are what is followed of one upstream.
type streams struct {
	events *Events // as configured
	by     *Policy // who has said so first
	feeds  map[kvevents.Source]*residency.Feed
	warned bool
}

// listening is for publishers that connect to us.
type listening struct {
	ranks []*kvevents.Listener
	users map[*Policy]struct{}
}

func newFollowing(f *fleet.Fleet) *following {
	s := &following{fleet: f, upstreams: make(map[string]*streams), listeners: make(map[string]*listening)}
	s.set = kvevents.NewSet(kvevents.Options{Open: s.open, Closed: s.closed})
	return s
}

// follow names upstreams, by address, that a policy may send requests to.
func (s *following) follow(p *Policy, addresses []string) {
	if p.Events == nil {
		return
	}
	var sources []kvevents.Source
	for _, address := range addresses {
		if s.claim(p, address) {
			sources = append(sources, p.Events.sources(address)...)
		}
	}
	s.set.See(sources...)
}

// claim reports whether an upstream is to be followed as the policy says. It is
// not while another policy that is still there follows it differently: where
// the config shows that, it is refused, but upstreams can be dynamic.
func (s *following) claim(p *Policy, address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.upstreams[address]
	switch {
	case u == nil:
		s.upstreams[address] = &streams{events: p.Events, by: p, feeds: make(map[kvevents.Source]*residency.Feed)}
	case u.events.same(p.Events):
	case u.by.sight.gone.Load():
		s.fleet.Follow(address, fleet.Feeds{}) // until the new ones are there
		u.events, u.by, u.warned = p.Events, p, false
	default:
		if !u.warned {
			u.warned = true
			p.logger.Warn("another kv_aware policy follows this upstream's events differently: that one counts",
				zap.String("upstream", address))
		}
		return false
	}
	return true
}

// open is called when the following of a publisher begins.
func (s *following) open(source kvevents.Source) kvevents.Sink {
	feed := s.fleet.Residency().Feed(source.Upstream + " events " + source.Events + " " + strconv.Itoa(source.Rank))
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.upstreams[source.Upstream]; u != nil {
		u.feeds[source] = feed
		s.attach(source.Upstream, u)
	}
	return &sink{Feed: feed, fleet: s.fleet, address: source.Upstream}
}

// attach gives the fleet the feeds of an upstream when all are there. The
// caller holds mu.
func (s *following) attach(address string, u *streams) {
	feeds := fleet.Feeds{Weights: u.events.weights()}
	for _, source := range u.events.sources(address) {
		feed := u.feeds[source]
		if feed == nil {
			return
		}
		feeds.Ranks = append(feeds.Ranks, feed)
	}
	s.fleet.Follow(address, feeds)
}

// closed is called when the following of a publisher has ended.
func (s *following) closed(source kvevents.Source, opened kvevents.Sink) {
	feed := opened.(*sink).Feed
	s.mu.Lock()
	if u := s.upstreams[source.Upstream]; u != nil {
		delete(u.feeds, source)
		if len(u.feeds) == 0 {
			delete(s.upstreams, source.Upstream)
		}
	}
	s.mu.Unlock()
	s.fleet.Unfollow(source.Upstream, feed)
	s.fleet.Residency().Drop(feed)
}

// close ends all following.
func (s *following) close() {
	s.mu.Lock()
	listeners := s.listeners
	s.listeners = make(map[string]*listening)
	s.mu.Unlock()
	for _, l := range listeners {
		l.close()
	}
	s.set.Close()
}

// sink is where the events of one publisher go.
type sink struct {
	*residency.Feed
	fleet   *fleet.Fleet
	address string
}

// Apply takes an event in. An engine that clears its cache holds nothing of what
// was sent to it either, unless that was long ago and is only heard now.
func (s *sink) Apply(e *kvevents.Event) bool {
	if e.Kind == kvevents.Cleared && s.Knowledge() != kvevents.Unknown {
		s.fleet.Forget(s.address)
	}
	return s.Feed.Apply(e)
}

// followUntil names the static upstreams of a config's policies, now and then.
func (a *App) followUntil(ctx context.Context, policies map[*Policy][]string) {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		for p, addresses := range policies {
			a.shared.following.follow(p, addresses)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

var errListening = errors.New("events: cannot listen at this address")

// listen accepts the publishers that connect to a policy. A config that is
// reloaded finds the listeners of the one before.
func (s *following) listen(p *Policy) error {
	if p.Events == nil || p.Events.Listen == "" {
		return nil
	}
	address := p.Events.listener()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listeners[address]
	if l == nil {
		l = &listening{users: make(map[*Policy]struct{})}
		s.listeners[address] = l
	}
	l.users[p] = struct{}{}
	for len(l.ranks) < p.Events.ranks() {
		at := plus(address, len(l.ranks))
		listener, err := net.Listen("tcp", at)
		if err != nil {
			s.unlisten(p, address)
			return errListening
		}
		l.ranks = append(l.ranks, kvevents.NewListener(s.set, listener, len(l.ranks)))
	}
	return nil
}

// unlisten takes a policy off a listener; the last one closes it. The caller
// holds mu.
func (s *following) unlisten(p *Policy, address string) {
	l := s.listeners[address]
	if l == nil {
		return
	}
	if delete(l.users, p); len(l.users) == 0 {
		delete(s.listeners, address)
		go l.close() // waits for what is under way
	}
}

func (l *listening) close() {
	for _, listener := range l.ranks {
		listener.Close()
	}
}

// forget drops what an upstream was heard to hold. What its engine says from
// then on is all that is known.
func (s *following) forget(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.upstreams[address]; u != nil {
		for _, feed := range u.feeds {
			feed.Clear()
			feed.Known(min(feed.Knowledge(), kvevents.Partial))
		}
	}
}

// dismiss notes that a policy's config is gone.
func (s *following) dismiss(p *Policy) {
	if p.Events == nil || p.Events.Listen == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlisten(p, p.Events.listener())
}
