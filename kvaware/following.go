// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/internal/routing"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
)

// followInterval is how often a policy names its static upstreams, so that
// their engines are followed also while no requests come.
const followInterval = 20 * time.Second

// forgetUpstream is how long an upstream without a stream is remembered: longer
// than it takes until one that was named is followed.
const forgetUpstream = 5 * time.Minute

// following brings what engines publish to the fleet. Like the fleet it is
// there once for all configs of the process.
type following struct {
	fleet *routing.Router
	set   *kvevents.Subscriber

	mu        sync.Mutex
	upstreams map[string]*streams   // by address
	listeners map[string]*listening // by the host:port of the first rank
	freed     chan struct{}         // closed when upstreams are nobody's any more

	generations uint64 // configs that have started
}

// streams are what is followed of one upstream.
type streams struct {
	events     *Events              // as configured
	users      map[*Policy]struct{} // who want it so
	generation uint64               // of the newest of their configs
	claimed    time.Time            // when one of them last said so
	feeds      map[kvevents.Publisher]*kvindex.Feed
	attached   bool // the fleet has all of them
	warned     bool
}

// listening is for publishers that connect to us.
type listening struct {
	ranks []*kvevents.Listener
	users map[*Policy]struct{}
}

func newFollowing(f *routing.Router) *following {
	s := &following{
		fleet: f, upstreams: make(map[string]*streams), listeners: make(map[string]*listening), freed: make(chan struct{}),
	}
	s.set = kvevents.NewSubscriber(kvevents.Options{Open: s.open, Closed: s.closed})
	return s
}

// follow names upstreams, by address, that a policy may send requests to.
func (s *following) follow(p *Policy, addresses []string) {
	if p.Events == nil {
		return
	}
	now := time.Now()
	var sources []kvevents.Publisher
	s.mu.Lock()
	defer s.mu.Unlock() // what is seen is claimed: nobody dismisses it in between
	for _, address := range addresses {
		if of := p.Events.sources(address); len(of) > 0 && s.claim(p, address, now) {
			sources = append(sources, of...)
		}
	}
	s.set.Follow(sources...)
}

// claim reports whether an upstream is to be followed as the policy says. It is
// not while another policy follows it differently that is of the same config,
// which is refused where it shows, but upstreams can be dynamic; or of a newer
// one. The caller holds mu.
func (s *following) claim(p *Policy, address string, now time.Time) bool {
	if p.sight.gone.Load() {
		return false // a request of a config that was replaced
	}
	u := s.upstreams[address]
	switch {
	case u == nil:
		u = &streams{events: p.Events, users: make(map[*Policy]struct{}), feeds: make(map[kvevents.Publisher]*kvindex.Feed)}
		s.upstreams[address] = u
	case u.events.same(p.Events):
	case len(u.users) == 0 || p.sight.generation.Load() > u.generation:
		s.change(address, u, p.Events)
	default:
		if p.sight.generation.Load() == u.generation && !u.warned {
			u.warned = true
			p.logger.Warn("another kv_aware policy follows this upstream's events differently: that one counts",
				zap.String("upstream", address))
		}
		return false
	}
	u.users[p], u.claimed, u.generation = struct{}{}, now, max(u.generation, p.sight.generation.Load())
	return true
}

// change has an upstream followed in another way from now on. The caller holds
// mu.
func (s *following) change(address string, u *streams, events *Events) {
	wanted := events.sources(address)
	for _, source := range u.events.sources(address) {
		if !slices.Contains(wanted, source) {
			s.set.Unfollow(source)
		}
	}
	clear(u.users)
	u.events, u.warned = events, false
	s.attach(address, u)
}

// open is called when the following of a publisher begins.
func (s *following) open(source kvevents.Publisher) kvevents.Sink {
	// A name of its own: what is followed in another way now may not have ended yet.
	feed := s.fleet.Index().Feed(source.Upstream + " events " + source.Events + " " + strconv.Itoa(source.Rank) + " " + source.Replay)
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.upstreams[source.Upstream]; u != nil {
		u.feeds[source] = feed
		s.attach(source.Upstream, u)
	}
	return &sink{Feed: feed, fleet: s.fleet, address: source.Upstream}
}

// attach gives the fleet the feeds of an upstream when all are there, and none
// before. The caller holds mu.
func (s *following) attach(address string, u *streams) {
	feeds := routing.Feeds{Weights: u.events.weights()}
	for _, source := range u.events.sources(address) {
		feed := u.feeds[source]
		if feed == nil {
			feeds = routing.Feeds{}
			break
		}
		feeds.Ranks = append(feeds.Ranks, feed)
	}
	u.attached = len(feeds.Ranks) > 0
	s.fleet.Follow(address, feeds)
}

// begun reports whether anything engines say has a place to go. Right after a
// start it has not: that no prompt lacks its tokens then says nothing.
func (s *following) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.upstreams {
		if u.attached {
			return true
		}
	}
	return false
}

// closed is called when the following of a publisher has ended.
func (s *following) closed(source kvevents.Publisher, opened kvevents.Sink) {
	feed := opened.(*sink).Feed
	s.mu.Lock()
	if u := s.upstreams[source.Upstream]; u != nil {
		delete(u.feeds, source)
		u.attached = false
		if len(u.feeds) == 0 && len(u.users) == 0 {
			delete(s.upstreams, source.Upstream)
		}
	}
	s.mu.Unlock()
	s.fleet.Unfollow(source.Upstream, feed)
	s.fleet.Index().Drop(feed)
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
	*kvindex.Feed
	fleet   *routing.Router
	address string
}

// Apply takes an event in. An engine that clears its cache holds nothing of what
// was sent to it either, unless that was long ago and is only heard now.
func (s *sink) Apply(e *kvevents.Event) bool {
	if e.Kind == kvevents.Cleared && s.Knowledge() != kvevents.Unknown {
		s.fleet.CacheLost(s.address)
	}
	return s.Feed.Apply(e)
}

// followUntil names the static upstreams of a config's policies, now and then,
// and when another config has let go of some, which followAll has told.
func (a *App) followUntil(ctx context.Context, policies map[*Policy]*placement, freed <-chan struct{}) {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-freed:
		case <-tick.C:
		}
		freed = a.shared.following.followAll(policies)
	}
}

// followAll names the static upstreams of policies. What it returns is closed
// when it may be worth to do it again.
func (s *following) followAll(policies map[*Policy]*placement) <-chan struct{} {
	s.mu.Lock()
	freed := s.freed
	s.mu.Unlock()
	for p, place := range policies {
		s.follow(p, place.addresses())
	}
	return freed
}

// prepare is called when a config starts, with its policies.
func (s *following) prepare(policies map[*Policy]*placement) error {
	s.mu.Lock()
	s.generations++
	generation := s.generations
	s.mu.Unlock()
	for p := range policies {
		p.sight.generation.Store(generation)
		if err := s.listen(p); err != nil {
			return err
		}
	}
	return nil
}

var errListening = errors.New("events: cannot listen at this address")

// listen accepts the publishers that connect to a policy. A config that is
// reloaded finds the listeners of the one before.
func (s *following) listen(p *Policy) error {
	if p.Events == nil || p.Events.Listen == "" {
		return nil
	}
	if err := s.bind(p, p.Events.listener()); err != nil {
		s.unlisten(p)
		return err
	}
	return nil
}

// bind opens what is missing of the ports at an address.
func (s *following) bind(p *Policy, address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listeners[address]
	if l == nil {
		l = &listening{users: make(map[*Policy]struct{})}
		s.listeners[address] = l
	}
	l.users[p] = struct{}{}
	for len(l.ranks) < p.Events.ranks() {
		listener, err := net.Listen("tcp", endpoint.AddPort(address, len(l.ranks)))
		if err != nil {
			return errListening
		}
		l.ranks = append(l.ranks, kvevents.NewListener(s.set, listener, len(l.ranks)))
	}
	return nil
}

// unlisten takes a policy off its listener; the last one closes it.
func (s *following) unlisten(p *Policy) {
	address := p.Events.listener()
	s.mu.Lock()
	l := s.listeners[address]
	if l == nil {
		s.mu.Unlock()
		return
	}
	delete(l.users, p)
	unused := len(l.users) == 0
	if unused {
		delete(s.listeners, address)
	}
	s.mu.Unlock()
	if unused {
		l.close() // the ports are free when it returns
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
			feed.SetKnowledge(min(feed.Knowledge(), kvevents.Partial))
		}
	}
}

// dismiss notes that a policy's config is gone. What nobody else wants is not
// followed any more.
func (s *following) dismiss(p *Policy) {
	if p.Events == nil {
		return
	}
	if p.Events.Listen != "" {
		s.unlisten(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	freed := false
	for address, u := range s.upstreams {
		if _, used := u.users[p]; !used {
			continue
		}
		if delete(u.users, p); len(u.users) > 0 {
			continue
		}
		freed = true
		s.set.Unfollow(u.events.sources(address)...)
		if len(u.feeds) == 0 {
			delete(s.upstreams, address)
		}
	}
	if freed {
		close(s.freed)
		s.freed = make(chan struct{})
	}
}

// sweep forgets upstreams that are followed no more, and that nobody has named
// for so long that nothing of it can be under way.
func (s *following) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for address, u := range s.upstreams {
		if len(u.feeds) == 0 && now.Sub(u.claimed) > forgetUpstream {
			delete(s.upstreams, address)
		}
	}
}
