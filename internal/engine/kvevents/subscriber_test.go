// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestFollowsWhileSeen(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.p.store(1)
		w.keep(3*time.Minute, publisher)
		w.check(t, Complete)
		first := w.sink
		w.subscriber.Follow(publisher)
		time.Sleep(idleAfter - time.Second)
		w.check(t, Complete)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, known := first.holds(); !first.closed || known != Unknown || len(w.subscriber.States("")) != 0 {
			t.Errorf("still followed after a minute: %+v, %s", w.subscriber.States(""), known)
		}
		w.subscriber.Follow(publisher)
		w.check(t, Complete)
		if first == w.sink {
			t.Error("no new sink")
		}
	})
}

func TestUnseenWithoutConnection(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.subscriber.Follow(publisher, Publisher{Upstream: "b:8000"})
		time.Sleep(idleAfter + 7*time.Second)
		synctest.Wait()
		if n := len(w.subscriber.States("")); n != 0 || w.open != 0 || len(w.subscriber.byName) != 0 {
			t.Errorf("%d are followed, %d sinks open, %d names", n, w.open, len(w.subscriber.byName))
		}
	}, func(p *fakePublisher) { p.refuse = true })
}

// TestDismiss: Unfollow ends a subscription at once, in whatever state, and Follow
// begins a new one.
func TestDismiss(t *testing.T) {
	other := Publisher{Upstream: "b:8000", Events: "a:1"} // without history
	for name, subscriber := range map[string]func(*fakePublisher){
		"followed":      func(*fakePublisher) {},
		"not reachable": func(p *fakePublisher) { p.refuse = true },
		"asked":         func(p *fakePublisher) { p.noEnd = true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.p.store(1)
				w.subscriber.Follow(other, publisher)
				synctest.Wait()
				began := time.Now()
				w.subscriber.Unfollow(publisher, Publisher{Upstream: "never seen:1"})
				synctest.Wait()
				if s := w.subscriber.States(""); len(s) != 1 || s[0].Publisher != other || w.open != 1 || time.Since(began) > 0 {
					t.Fatalf("%d sinks are open, followed: %+v", w.open, s)
				}
				w.subscriber.Unfollow(publisher)
				w.subscriber.Unfollow(other)
				w.subscriber.Follow(other) // before it has ended
				synctest.Wait()
				if s := w.subscriber.States(""); len(s) != 1 || s[0].Publisher != other || w.open != 1 {
					t.Fatalf("%d sinks are open, followed: %+v", w.open, s)
				}
				w.subscriber.Unfollow(other)
				synctest.Wait()
				if w.open != 0 || len(w.subscriber.States("")) != 0 {
					t.Fatalf("%d sinks are open, followed: %+v", w.open, w.subscriber.States(""))
				}
				w.p.mu.Lock()
				w.p.refuse, w.p.noEnd = false, false
				w.p.mu.Unlock()
				w.subscriber.Follow(publisher)
				w.check(t, Complete)
			}, subscriber)
		})
	}
}

func TestStates(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		one, two := publisher, publisher
		one.Rank = 1
		two.Upstream = "b:8000"
		w.subscriber.Follow(two, one, publisher)
		w.subscriber.Follow(publisher, one)
		synctest.Wait()
		if s := w.subscriber.States("a:8000"); len(s) != 2 || s[0].Publisher != publisher || s[1].Publisher != one {
			t.Errorf("%+v", s)
		}
		if s := w.subscriber.States(""); len(s) != 3 || s[2].Publisher != two {
			t.Errorf("%+v", s)
		}
		if len(w.subscriber.States("c:8000")) != 0 {
			t.Error("states of an unknown upstream")
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.p.noEnd = true // makes the history take long
		w.subscriber.Follow(publisher, Publisher{Upstream: "b:8000"}, Publisher{Upstream: "c:8000", Events: "c:1"})
		synctest.Wait()
		began := time.Now()
		w.subscriber.Close()
		w.subscriber.Follow(publisher)
		if w.open != 0 || len(w.subscriber.States("")) != 0 || time.Since(began) > 0 {
			t.Errorf("%d sinks are open after %v", w.open, time.Since(began))
		}
		w.subscriber.Close()
	})
}

func TestFollowedAreBounded(t *testing.T) {
	s := NewSubscriber(Options{})
	defer s.Close()
	for i := range maxSubscriptions {
		s.subscriptions[Publisher{Rank: i}] = newSubscription(s, Publisher{Rank: i})
	}
	s.Follow(Publisher{Upstream: "one:1"}) // would call Open, which is nil
	if n := len(s.States("")); n != maxSubscriptions {
		t.Errorf("%d are followed", n)
	}
	clear(s.subscriptions)
}

// TestHistoriesAtOnce: only maxReplays histories are read at a time.
func TestHistoriesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var publishers []Publisher
		for i := range 30 {
			p := newFakePublisher()
			p.noEnd = true
			host := fmt.Sprint("p", i)
			w.net.publishers[host] = p
			publishers = append(publishers, Publisher{Upstream: host + ":8000", Events: host + ":1", Replay: host + ":2"})
			p.store(1)
		}
		w.subscriber.Follow(publishers...)
		for range 60 {
			synctest.Wait()
			w.subscriber.Follow(publishers...)
			if n := len(w.subscriber.replays); n > maxReplays {
				t.Fatalf("%d at once", n)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		for _, s := range w.subscriber.States("") {
			if s.Knowledge != Complete {
				t.Errorf("%+v", s)
			}
		}
	})
}
