// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/binary"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func heal(t *testing.T, e *Engine) {
	t.Helper()
	if err := e.Heal(); err != nil {
		t.Fatal(err)
	}
}

// replayedNumbers returns the sequence numbers of a replay without its end.
func replayedNumbers(t *testing.T, c *zmtpClient, from uint64) (numbers []uint64) {
	t.Helper()
	for _, parts := range c.replay(from) {
		if n := binary.BigEndian.Uint64(parts[2]); n != endOfReplay {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// TestGaps checks that a replay has dropped batches, but no lost ones.
func TestGaps(t *testing.T) {
	e := publishing(t, nil)
	live, replay := subscribed(t, e, 0, ""), dialZMTP(t, e.ReplayAddr(0), readyDealer)
	fault(t, e, Fault{Kind: DropEvents, Skip: 1, Count: 2}, Fault{Kind: LoseEvents, Skip: 5, Count: 1})
	batches(t, e, 8)
	wantSequences(t, live, 0, 3, 4, 6, 7)
	if got := replayedNumbers(t, replay, 0); !slices.Equal(got, []uint64{0, 1, 2, 3, 4, 6, 7}) {
		t.Errorf("replayed %v", got)
	}
	// The stream is silent from here until Heal: only the next batch reveals that
	// the tail is missing.
	fault(t, e, Fault{Kind: DropEvents})
	batches(t, e, 3)
	live.silent(30 * time.Millisecond)
	if got := replayedNumbers(t, replay, 8); !slices.Equal(got, []uint64{8, 9, 10}) {
		t.Errorf("replayed %v", got)
	}
	heal(t, e)
	batches(t, e, 1)
	wantSequences(t, live, 11)
	fault(t, e, Fault{Kind: ForgetEvents})
	batches(t, e, 1)
	if got := replayedNumbers(t, replay, 0); !slices.Equal(got, []uint64{12}) {
		t.Errorf("replayed %v", got)
	}
}

// TestTruncatedReplay truncates replays by a fault, and by a peer that does not read.
func TestTruncatedReplay(t *testing.T) {
	e := publishing(t, nil)
	batches(t, e, 6)
	c := dialZMTP(t, e.ReplayAddr(0), readyDealer)
	fault(t, e, Fault{Kind: TruncateReplay, Chunks: 2, Count: 2})
	for _, want := range [][]uint64{{0, 1}, {2, 3}} {
		c.ask(want[0])
		for _, w := range want {
			parts, err := c.message()
			if err != nil || binary.BigEndian.Uint64(parts[2]) != w {
				t.Fatalf("%q %v, want %d", parts, err, w)
			}
		}
		c.silent(30 * time.Millisecond)
	}
	if got := replayedNumbers(t, c, 4); !slices.Equal(got, []uint64{4, 5}) {
		t.Errorf("replayed %v", got)
	}

	e = publishing(t, func(c *Config) { c.Events.ReplayHWM = 3 })
	batches(t, e, 6)
	c = dialZMTP(t, e.ReplayAddr(0), readyDealer)
	c.ask(6) // the handshake is over and the queue works
	if _, err := c.message(); err != nil {
		t.Fatal(err)
	}
	// The first message takes a second; meanwhile all others are queued or dropped.
	fault(t, e, Fault{Kind: SlowEvents, Delay: time.Second, Count: 1})
	c.ask(0)
	var got []uint64
	for {
		if c.deadline(time.Minute); len(got) > 1 {
			c.deadline(500 * time.Millisecond)
		}
		flags, body, err := c.frame()
		if err != nil {
			break
		}
		if flags&1 != 0 && len(body) == 8 {
			got = append(got, binary.BigEndian.Uint64(body))
		}
	}
	// How many pass depends on when the first leaves the queue, but the end
	// marker, the seventh, is always dropped.
	if len(got) < 2 || len(got) > 5 || !slices.IsSorted(got) || got[0] != 0 || slices.Contains(got, endOfReplay) {
		t.Errorf("a queue of 3 let %v pass", got)
	}
}

// TestGarbage checks that a garbled batch is undecodable, live and replayed, and
// that later batches are intact.
func TestGarbage(t *testing.T) {
	e := publishing(t, nil)
	c := subscribed(t, e, 0, "")
	fault(t, e, Fault{Kind: GarbleEvents, Count: 1})
	batches(t, e, 1)
	parts, err := c.message()
	if err != nil || parts[2][0] != 0xc1 || len(parts[2]) < 64 {
		t.Fatalf("%q %v", parts, err)
	}
	if got := dialZMTP(t, e.ReplayAddr(0), readyDealer).replay(0); !slices.Equal(got[0][3], parts[2]) {
		t.Error("the replay has another payload")
	}
	batches(t, e, 1)
	wantSequences(t, c, 1)
}

// TestHangingStream checks that an open connection sends nothing, not even PONG.
func TestHangingStream(t *testing.T) {
	e := publishing(t, nil)
	live, replay := subscribed(t, e, 0, ""), dialZMTP(t, e.ReplayAddr(0), readyDealer)
	fault(t, e, Fault{Kind: HangEvents})
	batches(t, e, 1)
	live.send("\x00\x02\x01x") // the reader hangs after its first message
	live.send("\x04\x0a\x04PING\x00\x00ctx")
	replay.ask(0)
	live.silent(50 * time.Millisecond)
	replay.silent(time.Millisecond)
	heal(t, e)
	for range 2 { // in either order
		live.deadline(10 * time.Second)
		flags, body, err := live.frame()
		if err != nil {
			t.Fatal(err)
		}
		if flags == 4 && string(body) != "\x04PONGctx" {
			t.Errorf("command %q", body)
		}
		for flags&1 != 0 {
			if flags, _, err = live.frame(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if parts, err := replay.message(); err != nil || len(parts) != 4 {
		t.Errorf("replay after the hang: %q %v", parts, err)
	}
	// A hanging connection can be closed from either end.
	fault(t, e, Fault{Kind: HangEvents})
	batches(t, e, 1)
	fault(t, e, Fault{Kind: DisconnectEvents})
	if _, err := live.message(); err == nil {
		t.Error("still connected")
	}
}

func TestSlowStream(t *testing.T) {
	e := publishing(t, nil)
	c := subscribed(t, e, 0, "")
	fault(t, e, Fault{Kind: SlowEvents, Delay: 40 * time.Millisecond, Count: 2})
	begin := time.Now()
	batches(t, e, 3)
	wantSequences(t, c, 0, 1, 2)
	if d := time.Since(begin); d < 80*time.Millisecond {
		t.Errorf("three batches after %v", d)
	}
}

// TestRestartOfThePublisher checks that connections end, numbers begin again, the
// replay is empty, and the stream describes the new process's cache.
func TestRestartOfThePublisher(t *testing.T) {
	for name, restart := range map[string]func(*Engine) error{
		"restart": (*Engine).Restart,
		"crash and heal": func(e *Engine) error {
			if err := e.Fault(Fault{Kind: Crash}); err != nil {
				return err
			}
			return e.Heal()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := publishing(t, func(c *Config) { c.OutputTokens = 20 })
			before, address := subscribed(t, e, 0, ""), e.EventsAddr(0)
			traffic(t, e, 1, 6, "m")
			if err := restart(e); err != nil {
				t.Fatal(err)
			}
			http.DefaultClient.CloseIdleConnections()
			for { // earlier messages, then the end
				if _, err := before.message(); err != nil {
					break
				}
			}
			if e.NextSequence(0) != 0 || len(e.CachedBlocks(0)) != 0 || e.EventsAddr(0) != address || e.Subscribers(0) != 0 {
				t.Errorf("after a restart: batch %d, %d blocks, %s, %d subscribers", e.NextSequence(0), len(e.CachedBlocks(0)), e.EventsAddr(0), e.Subscribers(0))
			}
			f := followers(t, e, 0)
			traffic(t, e, 2, 6, "m")
			f.catchUp(t)
			if held := e.CachedBlocks(0); !maps.Equal(held, f.mirrors[0].copies) || len(held) == 0 {
				t.Errorf("the cache holds %d blocks, its events say %d", len(held), len(f.mirrors[0].copies))
			}
		})
	}
	e := publishing(t, nil)
	fault(t, e, Fault{Kind: Crash})
	if _, err := http.Get(e.URL() + "/health"); err == nil {
		t.Error("a crashed node answers")
	}
	if c, err := net.Dial("tcp", e.EventsAddr(0)); err == nil {
		c.Close()
		t.Error("a crashed node's publisher listens")
	}
	heal(t, e)
	subscribed(t, e, 0, "")
}

func TestEventFaultsNeedEvents(t *testing.T) {
	e := start(t, Config{})
	for kind := range endOfEventFaults {
		if kind.isEventFault() != (kind >= DropEvents) {
			t.Errorf("kind %d", kind)
		}
		if kind.isEventFault() && e.Fault(Fault{Kind: kind}) == nil {
			t.Errorf("kind %d on a node that publishes nothing", kind)
		}
	}
	if e.Fault(Fault{Kind: endOfEventFaults}) == nil {
		t.Error("a kind that does not exist")
	}
	if err := e.Restart(); err != nil {
		t.Error(err)
	}
	// Faults of events do not affect requests.
	with := publishing(t, nil)
	fault(t, with, Fault{Kind: HangEvents}, Fault{Kind: DropEvents, Count: 1})
	if res, _ := post(t, with, "/v1/completions", `{"prompt":"`+strings.Repeat("four", 16)+`"}`); res.StatusCode != http.StatusOK {
		t.Errorf("status %s", res.Status)
	}
	silentNode, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer silentNode.Close()
	if silentNode.Restart() == nil {
		t.Error("a restart without a listener")
	}
}
