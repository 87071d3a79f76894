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
		w.set.Follow(publisher)
		time.Sleep(idleAfter - time.Second)
		w.check(t, Complete)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, known := first.holds(); !first.closed || known != Unknown || len(w.set.States("")) != 0 {
			t.Errorf("still followed after a minute: %+v, %s", w.set.States(""), known)
		}
		w.set.Follow(publisher)
		w.check(t, Complete)
		if first == w.sink {
			t.Error("no new sink")
		}
	})
}

func TestUnseenWithoutConnection(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.set.Follow(publisher, Publisher{Upstream: "b:8000"})
		time.Sleep(idleAfter + 7*time.Second)
		synctest.Wait()
		if n := len(w.set.States("")); n != 0 || w.open != 0 || len(w.set.byName) != 0 {
			t.Errorf("%d are followed, %d sinks open, %d names", n, w.open, len(w.set.byName))
		}
	}, func(p *fakePublisher) { p.refuse = true })
}

// TestDismiss: whom nobody is interested in any more is left at once, whatever
// it is being done with, and followed again as if it were new.
func TestDismiss(t *testing.T) {
	other := Publisher{Upstream: "b:8000", Events: "a:1"} // without history
	for name, set := range map[string]func(*fakePublisher){
		"followed":      func(*fakePublisher) {},
		"not reachable": func(p *fakePublisher) { p.refuse = true },
		"asked":         func(p *fakePublisher) { p.noEnd = true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.p.store(1)
				w.set.Follow(other, publisher)
				synctest.Wait()
				began := time.Now()
				w.set.Unfollow(publisher, Publisher{Upstream: "never seen:1"})
				synctest.Wait()
				if s := w.set.States(""); len(s) != 1 || s[0].Publisher != other || w.open != 1 || time.Since(began) > 0 {
					t.Fatalf("%d sinks are open, followed: %+v", w.open, s)
				}
				w.set.Unfollow(publisher)
				w.set.Unfollow(other)
				w.set.Follow(other) // before it has ended
				synctest.Wait()
				if s := w.set.States(""); len(s) != 1 || s[0].Publisher != other || w.open != 1 {
					t.Fatalf("%d sinks are open, followed: %+v", w.open, s)
				}
				w.set.Unfollow(other)
				synctest.Wait()
				if w.open != 0 || len(w.set.States("")) != 0 {
					t.Fatalf("%d sinks are open, followed: %+v", w.open, w.set.States(""))
				}
				w.p.mu.Lock()
				w.p.refuse, w.p.noEnd = false, false
				w.p.mu.Unlock()
				w.set.Follow(publisher)
				w.check(t, Complete)
			}, set)
		})
	}
}

func TestStates(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		one, two := publisher, publisher
		one.Rank = 1
		two.Upstream = "b:8000"
		w.set.Follow(two, one, publisher)
		w.set.Follow(publisher, one)
		synctest.Wait()
		if s := w.set.States("a:8000"); len(s) != 2 || s[0].Publisher != publisher || s[1].Publisher != one {
			t.Errorf("%+v", s)
		}
		if s := w.set.States(""); len(s) != 3 || s[2].Publisher != two {
			t.Errorf("%+v", s)
		}
		if len(w.set.States("c:8000")) != 0 {
			t.Error("an upstream that nobody named")
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.p.noEnd = true // history takes its time
		w.set.Follow(publisher, Publisher{Upstream: "b:8000"}, Publisher{Upstream: "c:8000", Events: "c:1"})
		synctest.Wait()
		began := time.Now()
		w.set.Close()
		w.set.Follow(publisher)
		if w.open != 0 || len(w.set.States("")) != 0 || time.Since(began) > 0 {
			t.Errorf("%d sinks are open after %v", w.open, time.Since(began))
		}
		w.set.Close()
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

// TestHistoriesAtOnce: publishers are asked a few at a time.
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
		w.set.Follow(publishers...)
		for range 60 {
			synctest.Wait()
			w.set.Follow(publishers...)
			if n := len(w.set.replays); n > maxReplays {
				t.Fatalf("%d at once", n)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		for _, s := range w.set.States("") {
			if s.Knowledge != Complete {
				t.Errorf("%+v", s)
			}
		}
	})
}
