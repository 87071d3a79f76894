// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// check waits until nothing moves, and compares the sink's blocks with the engine's,
// as far as its knowledge goes.
func (w *world) check(t *testing.T, want Knowledge) {
	t.Helper()
	synctest.Wait()
	got, known := w.sink.holds()
	if known != want || w.state().Knowledge != want {
		t.Errorf("knowledge %s, want %s; %+v", known, want, w.state())
	}
	w.compare(t, got, known)
}

func (w *world) compare(t *testing.T, got map[uint64]uint64, known Knowledge) {
	t.Helper()
	w.p.mu.Lock()
	truth := maps.Clone(w.p.blocks)
	w.p.mu.Unlock()
	if known == Complete && !maps.Equal(got, truth) {
		t.Errorf("the sink has %v, the engine %v; %+v", got, truth, w.state())
	}
	for h, n := range got {
		if known == Partial && n > truth[h] {
			t.Errorf("the sink has %d copies of block %d, the engine %d; %+v", n, h, truth[h], w.state())
		}
	}
}

// keep follows publishers for a time, in fake time.
func (w *world) keep(d time.Duration, publishers ...Publisher) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		w.subscriber.Follow(publishers...)
		time.Sleep(min(10*time.Second, time.Until(end)))
	}
	synctest.Wait()
}

// bubble runs a test with a fake clock and a world that follows publisher.
func bubble(t *testing.T, test func(t *testing.T, w *world), prepare ...func(p *fakePublisher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer func() {
			w.subscriber.Close()
			if w.open != 0 {
				t.Errorf("%d sinks are open", w.open)
			}
		}()
		for _, p := range prepare {
			p(w.p)
		}
		test(t, w)
	})
}

func TestHistoryThenLive(t *testing.T) {
	for _, base := range []uint64{0, 1} {
		for _, old := range []bool{false, true} {
			for _, topic := range []string{"", "kv@a:8000@m"} {
				bubble(t, func(t *testing.T, w *world) {
					for h := range uint64(50) {
						w.p.store(h)
					}
					w.p.remove(3)
					w.subscriber.Follow(publisher)
					w.check(t, Complete)
					w.p.store(100)
					w.p.remove(4)
					w.check(t, Complete)
					s := w.state()
					if !s.Connected || s.Batches != 53 || s.Events != 53 || s.Gaps+s.Losses+s.Malformed+s.Unindexed != 0 || s.Replays != 1 || s.Failure != nil {
						t.Errorf("%+v", s)
					}
					if w.sink.clears != 2 || !slices.Equal(w.sink.told, []Knowledge{Complete}) {
						t.Errorf("%d times cleared, told %v", w.sink.clears, w.sink.told)
					}
				}, func(p *fakePublisher) { p.base, p.old, p.topic = base, old, topic })
			}
		}
	}
}

// TestPublishedMeanwhile: batches that come live during a replay are in it too, or
// follow it.
func TestPublishedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.p.store(1)
		w.p.onRequest = func(p *fakePublisher) {
			p.store(2)
			p.set(func(p *fakePublisher) { p.onRequest = nil })
		}
		w.p.replayed = func(i int, _ *msg) bool {
			if i == 2 { // the end: history was read
				p := w.p
				p.blocks[3]++
				payload := batchOf(storeOf(3))
				p.batches = append(p.batches, payload)
				p.send(2, payload)
			}
			return true
		}
		w.subscriber.Follow(publisher)
		w.check(t, Complete)
		if s := w.state(); s.Batches != 3 || s.Gaps != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestEmptyAtStart(t *testing.T) {
	for _, base := range []uint64{0, 1} {
		bubble(t, func(t *testing.T, w *world) {
			w.subscriber.Follow(publisher)
			w.check(t, Complete)
			w.p.store(1)
			w.p.store(2)
			w.check(t, Complete)
		}, func(p *fakePublisher) { p.base = base })
	}
}

func TestGap(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.p.store(1)
		w.subscriber.Follow(publisher)
		w.check(t, Complete)
		w.p.loseLive = 2
		w.p.store(2)
		w.p.remove(1)
		w.p.store(3)
		w.check(t, Complete)
		if s := w.state(); s.Gaps != 1 || s.Losses != 0 || s.Replays != 2 || s.Batches != 4 {
			t.Errorf("%+v", s)
		}
		if told := []Knowledge{Complete, Unknown, Complete}; !slices.Equal(w.sink.told, told) || !slices.Equal(w.p.asked, []uint64{0, 1, 1, 4}) {
			t.Errorf("told %v, asked from %d", w.sink.told, w.p.asked)
		}
	})
}

// TestGapThatCannotBeClosed: the history is too short, unreadable or missing.
func TestGapThatCannotBeClosed(t *testing.T) {
	for name, prepare := range map[string]func(p *fakePublisher, s *Publisher){
		"gone":    func(p *fakePublisher, _ *Publisher) { p.keep = 2 },
		"refused": func(p *fakePublisher, _ *Publisher) { p.refuseReplay = true },
		"none":    func(_ *fakePublisher, s *Publisher) { s.Replay = "" },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				publisher := publisher
				if name == "none" {
					publisher.Replay = ""
				}
				w.subscriber.Follow(publisher)
				synctest.Wait()
				w.p.store(1)
				w.p.store(2)
				w.check(t, Complete)
				prepare(w.p, &publisher)
				w.p.loseLive = 3
				w.p.remove(1)
				w.p.store(3)
				w.p.store(4)
				w.p.store(5)
				w.check(t, Partial)
				if s := w.state(); s.Gaps != 1 || s.Losses != 1 {
					t.Errorf("%+v", s)
				}
				if got, _ := w.sink.holds(); got[5] != 1 || got[1]+got[2] != 0 || name == "gone" && got[4] != 1 {
					t.Errorf("%v", got)
				}
				w.p.clear()
				w.p.store(9)
				w.check(t, Complete)
			})
		})
	}
}

// TestHistoryComesBack: an unreadable history is asked for again, with long pauses.
func TestHistoryComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.p.store(1)
		w.subscriber.Follow(publisher)
		synctest.Wait()
		w.p.store(2)
		w.check(t, Partial)
		if s := w.state(); s.Failure != ErrHistory || !s.Connected {
			t.Errorf("%+v", s)
		}
		before := w.p.dialled
		w.keep(25*time.Second, publisher)
		if w.p.dialled != before {
			t.Errorf("%d attempts within the pause", w.p.dialled-before)
		}
		w.p.set(func(p *fakePublisher) { p.refuseReplay = false })
		w.keep(30*time.Second, publisher)
		w.check(t, Complete)
		if s := w.state(); s.Failure != nil || s.Replays != 1 {
			t.Errorf("%+v", s)
		}
	}, func(p *fakePublisher) { p.refuseReplay = true })
}

func TestHistoryThatStartsLate(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for h := range uint64(10) {
			w.p.store(h)
		}
		w.subscriber.Follow(publisher)
		w.check(t, Partial)
		w.p.store(10)
		w.p.remove(2)
		w.p.remove(8)
		w.check(t, Partial)
		if got, _ := w.sink.holds(); len(got) != 3 || got[7]+got[9]+got[10] != 3 {
			t.Errorf("%v", got)
		}
		if s := w.state(); s.Losses != 0 || s.Unindexed != 1 {
			t.Errorf("%+v", s)
		}
		w.keep(10*time.Minute, publisher)
		w.check(t, Partial)
		w.p.clear()
		w.check(t, Complete)
	}, func(p *fakePublisher) { p.keep = 3 })
}

func TestWithoutHistory(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		publisher := publisher
		publisher.Replay = ""
		w.p.store(1)
		w.subscriber.Follow(publisher)
		w.check(t, Partial)
		w.p.store(2)
		w.check(t, Partial)
		w.p.restart(true)
		synctest.Wait()
		if _, known := w.sink.holds(); known != Unknown || w.state().Connected {
			t.Errorf("%s is known of an engine that is gone", known)
		}
		time.Sleep(time.Second)
		w.check(t, Partial)
		w.p.store(3)
		w.check(t, Complete)
	})
}

// TestTruncatedHistory: libzmq drops messages inside a reply, at its end, and the
// end mark.
func TestTruncatedHistory(t *testing.T) {
	for name, prepare := range map[string]func(w *world){
		"holes": func(w *world) {
			reply := 0
			w.p.replayed = func(i int, _ *msg) bool { reply++; return i < 100 || i%50 != 0 }
		},
		"mark": func(w *world) { w.p.noEnd = true },
		"tail": func(w *world) { w.p.replayed = func(i int, _ *msg) bool { return i < 300 } },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				prepare(w)
				for h := range uint64(1000) {
					w.p.store(h)
				}
				began := time.Now()
				w.keep(15*time.Second, publisher)
				w.check(t, Complete)
				if s := w.state(); s.Batches != 1000 || s.Losses != 0 {
					t.Errorf("%+v after %v, asked from %d", s, time.Since(began), w.p.asked)
				}
				w.p.store(2000)
				w.check(t, Complete)
			})
		})
	}
}

// TestHistoryThatEndsEarly: when no attempt brings more, the knowledge is unknown.
func TestHistoryThatEndsEarly(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.p.replayed = func(i int, m *msg) bool {
			if i == 5 || len(w.p.asked) > 1 {
				(*m)[2] = []byte("no number")
			}
			return true
		}
		for h := range uint64(20) {
			w.p.store(h)
		}
		w.p.remove(1)
		w.keep(5*time.Second, publisher)
		w.check(t, Unknown)
		if s := w.state(); s.Failure != ErrHistory || len(w.p.asked) > 5 {
			t.Errorf("%+v, asked from %d", s, w.p.asked)
		}
		// A live batch proves that some are missing.
		w.p.store(50)
		w.check(t, Partial)
		w.p.set(func(p *fakePublisher) { p.replayed = nil })
		w.keep(time.Minute, publisher)
		w.check(t, Complete)
	})
}

func TestRestart(t *testing.T) {
	for _, drop := range []bool{true, false} {
		bubble(t, func(t *testing.T, w *world) {
			for h := range uint64(10) {
				w.p.store(h)
			}
			w.subscriber.Follow(publisher)
			w.check(t, Complete)
			w.p.store(10)
			w.check(t, Complete)
			w.p.restart(drop)
			if drop {
				synctest.Wait()
				if _, known := w.sink.holds(); known != Unknown {
					t.Errorf("%s is known of an engine that is gone", known)
				}
				time.Sleep(time.Second)
			}
			w.p.store(20)
			w.p.store(21)
			w.check(t, Complete)
			if s := w.state(); s.Restarts != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestRestartBeforeAnythingLive: a first live batch that history had is a
// duplicate shortly after the replay, later a restart.
func TestRestartBeforeAnythingLive(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for h := range uint64(10) {
			w.p.store(h)
		}
		w.subscriber.Follow(publisher)
		w.check(t, Complete)
		w.keep(10*time.Second, publisher)
		w.p.restart(false)
		w.p.store(20)
		w.check(t, Complete)
	})
}

// TestEachBatchTwice: each batch comes over two paths. History is not read for each
// second one, and no knowledge is wrong.
func TestEachBatchTwice(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.subscriber.Follow(publisher)
		synctest.Wait()
		for h := range uint64(200) {
			w.p.store(h)
			w.p.set(func(p *fakePublisher) { p.send(h, p.batches[h]) })
			w.subscriber.Follow(publisher)
			time.Sleep(100 * time.Millisecond)
			w.check(t, w.state().Knowledge)
		}
		if n := len(w.p.asked); n > 20 {
			t.Errorf("asked %d times in 20 s", n)
		}
	})
}

// TestSilence: the last batch was lost, and no later one shows it.
func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.subscriber.Follow(publisher)
		synctest.Wait()
		w.p.store(1)
		synctest.Wait()
		w.p.loseLive = 1
		w.p.remove(1)
		w.keep(40*time.Second, publisher)
		w.check(t, Complete)
		if s := w.state(); s.Gaps != 1 || s.Losses != 0 || s.Batches != 2 {
			t.Errorf("%+v", s)
		}
		asked := len(w.p.asked)
		w.keep(30*time.Minute, publisher)
		if n := len(w.p.asked) - asked; n < 5 || n > 12 {
			t.Errorf("asked %d times in half an hour of silence", n)
		}
		for _, from := range w.p.asked[asked:] {
			if from != 2 {
				t.Errorf("asked from %d", from)
			}
		}
	})
}

func TestMalformed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.subscriber.Follow(publisher)
		synctest.Wait()
		w.p.store(1)
		w.p.store(2)
		// An unreadable store: blocks may be there that are not known.
		w.p.publish(pairs{"type", "BlockStored", "block_hashes", []any{3}, "token_ids", "pairs"})
		w.check(t, Partial)
		if got, _ := w.sink.holds(); len(got) != 2 {
			t.Errorf("%v", got)
		}
		// An unreadable removal: any block may be gone.
		w.p.publish(pairs{"type", "BlockRemoved", "block_hashes", "all"})
		w.check(t, Partial)
		if got, _ := w.sink.holds(); len(got) != 0 {
			t.Errorf("%v", got)
		}
		w.p.clear()
		w.p.store(4)
		w.check(t, Complete)
		w.p.publishRaw([]byte("\x93\xc0\xdd\xff\xff\xff\xffgarbage"))
		w.check(t, Partial)
		for _, c := range w.p.live {
			c.messages <- msg{[]byte("a"), []byte("b")}
			c.messages <- msg{{}, []byte("12345678"), {}}
		}
		w.p.store(5)
		w.check(t, Partial)
		if s := w.state(); s.Malformed != 5 || s.Gaps != 0 || !s.Connected {
			t.Errorf("%+v", s)
		}
	})
}

func TestReconnects(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.subscriber.Follow(publisher)
		w.keep(time.Minute, publisher)
		if n := w.p.dialled; n < 10 || n > 25 {
			t.Errorf("dialled %d times in a minute", n)
		}
		if s := w.state(); s.Connected || s.Failure != errRefused {
			t.Errorf("%+v", s)
		}
		w.p.set(func(p *fakePublisher) { p.refuse = false })
		w.p.store(1)
		w.keep(7*time.Second, publisher)
		w.check(t, Complete)
	}, func(p *fakePublisher) { p.refuse = true })
}

func TestLag(t *testing.T) {
	now := time.Unix(1789095810, 0)
	for ts, want := range map[float64]time.Duration{
		1789095808.5: 1500 * time.Millisecond, 1789095999: 0, 0: 24 * time.Hour, -1e300: 24 * time.Hour, 1e300: 0,
	} {
		if got := lag(now, ts); got != want {
			t.Errorf("lag of %g: %v, want %v", ts, got, want)
		}
	}
	zero := 0.0
	if lag(now, zero/zero) != 0 {
		t.Error("the lag of NaN is not 0")
	}
}

// TestFaults sets random faults while the engine works at random. The knowledge must
// be true whenever nothing moves.
func TestFaults(t *testing.T) {
	complete, seeds := 0, uint64(100)
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				r := rand.New(rand.NewPCG(seed, 1))
				publisher := publisher
				if r.IntN(4) == 0 {
					publisher.Replay = ""
				}
				w.p.base = uint64(r.IntN(2))
				for range 120 {
					w.subscriber.Follow(publisher)
					w.disturb(r)
					time.Sleep(2 * yieldCheckInterval)
					synctest.Wait()
					got, known := w.sink.holds()
					if len(w.p.live) == 0 && known != Unknown {
						t.Errorf("knowledge %s without a connection", known)
					}
					// A loss is hidden until the next batch or probe.
					if len(w.p.live) > 0 && w.p.loseLive == 0 && !w.p.hidden() {
						w.compare(t, got, known)
					}
				}
				w.p.set(func(p *fakePublisher) {
					p.refuse, p.refuseReplay, p.replayed, p.noEnd, p.keep, p.loseLive = false, false, nil, false, 0, 0
				})
				w.keep(time.Minute, publisher)
				w.p.drop()
				w.keep(12*time.Minute, publisher)
				w.p.store(1)
				synctest.Wait()
				got, known := w.sink.holds()
				w.compare(t, got, known)
				if known == Unknown || publisher.Replay != "" && known != Complete && !w.p.spoiled() {
					t.Errorf("knowledge %s in the end; %+v", known, w.state())
				}
				if known == Complete {
					complete++
				}
			})
		})
	}
	if complete < int(seeds)/5 {
		t.Errorf("the knowledge was complete in the end only %d times of %d", complete, seeds)
	}
}
