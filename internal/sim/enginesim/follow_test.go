// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// contents records what the gateway's own KV event client reports.
type contents struct {
	mu     sync.Mutex
	copies map[uint64]int
	known  kvevents.Knowledge
	clears int
}

func (c *contents) Apply(e *kvevents.Event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Kind == kvevents.Cleared {
		clear(c.copies)
	}
	for _, h := range e.Hashes {
		switch {
		case e.Kind == kvevents.Stored:
			c.copies[h]++
		case c.copies[h] == 0:
			return false
		case c.copies[h] == 1:
			delete(c.copies, h)
		default:
			c.copies[h]--
		}
	}
	return true
}

func (c *contents) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.copies)
	c.clears++
}

func (c *contents) SetKnowledge(k kvevents.Knowledge) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = k
}

func (c *contents) has(want map[uint64]int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Equal(c.copies, want)
}

func (c *contents) knows(k kvevents.Knowledge) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known == k
}

// kvClient is the gateway's client, following one node.
type kvClient struct {
	t       *testing.T
	engine  *Engine
	set     *kvevents.Subscriber
	sources []kvevents.Publisher
	mu      sync.Mutex
	sinks   map[int]*contents // by rank
}

func follow(t *testing.T, e *Engine) *kvClient {
	t.Helper()
	c := &kvClient{t: t, engine: e, sinks: map[int]*contents{}}
	c.set = kvevents.NewSubscriber(kvevents.Options{Open: func(s kvevents.Publisher) kvevents.Sink {
		sink := &contents{copies: map[uint64]int{}}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sinks[s.Rank] = sink
		return sink
	}})
	t.Cleanup(c.set.Close)
	for _, r := range e.ranks {
		c.sources = append(c.sources, kvevents.Publisher{Upstream: e.Addr(), Rank: r.id, Events: e.EventsAddr(r.id), Replay: e.ReplayAddr(r.id)})
	}
	c.set.Follow(c.sources...)
	c.until("connected", func() bool {
		n := 0
		for _, s := range c.set.States(e.Addr()) {
			if s.Connected && s.Knowledge != kvevents.Unknown {
				n++
			}
		}
		return n == len(e.ranks)
	})
	// A connected client may not be subscribed yet at the other end.
	c.until("subscribed", func() bool {
		for _, r := range e.ranks {
			if e.Subscribers(r.id) == 0 {
				return false
			}
		}
		return true
	})
	return c
}

func (c *kvClient) sink(rank int) *contents {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sinks[rank]
}

// until waits for an effect of the client's own goroutines.
func (c *kvClient) until(what string, done func() bool) {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
		c.set.Follow(c.sources...) // as requests do
	}
	c.t.Fatalf("never %s: %+v", what, c.set.States(""))
}

// same waits until the client has the node's cache, copy by copy.
func (c *kvClient) same() {
	c.t.Helper()
	c.until("the same", func() bool {
		for _, r := range c.engine.ranks {
			if s := c.sink(r.id); s == nil || !s.has(c.engine.CachedBlocks(r.id)) {
				return false
			}
		}
		return true
	})
}

func (c *kvClient) state() kvevents.State { return c.set.States("")[0] }

// TestTheGatewaysClient follows the simulated publishers with the gateway's own
// client, in every encoding.
func TestTheGatewaysClient(t *testing.T) {
	for name, events := range map[string]EventsConfig{
		"map":            {Replay: true, Topic: "kv-events"},
		"array":          {Replay: true, Encoding: EventArray},
		"map, old reply": {Replay: true, ReplayTopic: "no"},
		"sglang":         {Replay: true, Encoding: EventSGLang},
		"wide":           {Replay: true, WideHashes: true, FirstSequence: 1},
		"no replay":      {},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, Config{Models: []string{"m", "ad"}, Ranks: 2, CacheBlocks: 120, Events: &events, Speed: 200})
			if events.Replay {
				traffic(t, e, 1, 10, "m", "ad") // known by replay only
			}
			c := follow(t, e)
			if events.Replay {
				c.same()
			}
			traffic(t, e, 2, 10, "m", "ad")
			c.same()
			post(t, e, "/reset_prefix_cache", "")
			c.same()
			for rank := range e.ranks {
				if n := len(e.CachedBlocks(rank)); n != 0 {
					t.Errorf("rank %d holds %d blocks after a reset", rank, n)
				}
			}
			for _, s := range c.set.States("") {
				// A batch that a check for missed batches returns before the stream
				// does counts as a gap, though a closed one.
				if s.Malformed+s.Losses != 0 || s.Batches == 0 {
					t.Errorf("state %+v", s)
				}
			}
		})
	}
}

// TestTheGatewaysClientAndFaults checks that after any fault of the stream the client
// ends up with the cache.
func TestTheGatewaysClientAndFaults(t *testing.T) {
	node := func() (*Engine, *kvClient) {
		e := publishing(t, func(c *Config) { c.CacheBlocks, c.OutputTokens = 120, 10 })
		traffic(t, e, 1, 5, "m")
		c := follow(t, e)
		c.same()
		return e, c
	}
	t.Run("gap", func(t *testing.T) {
		e, c := node()
		fault(t, e, Fault{Kind: DropEvents, Count: 5})
		traffic(t, e, 2, 5, "m")
		c.same()
		c.until("up to date behind the gap", func() bool { // the state is reported after the events
			s := c.state()
			return s.Gaps > 0 && s.Knowledge == kvevents.Complete
		})
		if s := c.state(); s.Losses != 0 {
			t.Errorf("state %+v", s)
		}
	})
	t.Run("truncated replay", func(t *testing.T) {
		e, c := node()
		fault(t, e, Fault{Kind: DropEvents, Count: 5}, Fault{Kind: TruncateReplay, Chunks: 2, Count: 1})
		traffic(t, e, 2, 5, "m")
		c.same()
		c.until("aware of the gap", func() bool { return c.state().Gaps > 0 })
		if s := c.state(); s.Losses != 0 {
			t.Errorf("state %+v", s)
		}
	})
	t.Run("gap that stays", func(t *testing.T) {
		e, c := node()
		fault(t, e, Fault{Kind: LoseEvents, Count: 3})
		batches(t, e, 5)
		c.until("aware of the loss", func() bool { return c.state().Losses > 0 })
		post(t, e, "/reset_prefix_cache", "") // ends the missed part
		traffic(t, e, 2, 5, "m")
		c.same()
	})
	t.Run("garbage", func(t *testing.T) {
		e, c := node()
		fault(t, e, Fault{Kind: GarbleEvents, Count: 1})
		batches(t, e, 2)
		c.until("aware of the garbage", func() bool { return c.state().Malformed > 0 })
		post(t, e, "/reset_prefix_cache", "")
		traffic(t, e, 2, 5, "m")
		c.same()
	})
	t.Run("history gone", func(t *testing.T) {
		e, c := node()
		fault(t, e, Fault{Kind: ForgetEvents}, Fault{Kind: DisconnectEvents})
		c.until("empty and connected", func() bool { s := c.state(); return s.Connected && s.Restarts > 0 && c.sink(0).has(map[uint64]int{}) })
		batches(t, e, 1)
		c.until("partly informed", func() bool { return c.sink(0).knows(kvevents.Partial) && !c.sink(0).has(map[uint64]int{}) })
	})
	t.Run("disconnection", func(t *testing.T) {
		e, c := node()
		fault(t, e, Fault{Kind: DisconnectEvents})
		traffic(t, e, 2, 5, "m")
		c.same()
	})
	t.Run("restart", func(t *testing.T) {
		e, c := node()
		fault(t, e, Fault{Kind: Crash})
		c.until("aware", func() bool { return c.sink(0).knows(kvevents.Unknown) })
		heal(t, e)
		http.DefaultClient.CloseIdleConnections()
		c.same()
		traffic(t, e, 2, 5, "m")
		c.same()
		c.until("up to date again", func() bool { s := c.state(); return s.Restarts >= 1 && s.Knowledge == kvevents.Complete })
	})
	t.Run("slow", func(t *testing.T) {
		e, c := node()
		fault(t, e, Fault{Kind: SlowEvents, Delay: 5 * time.Millisecond})
		traffic(t, e, 2, 3, "m")
		c.same()
	})
}

// TestTheGatewaysListener checks that the topic identifies publishers that connect out.
func TestTheGatewaysListener(t *testing.T) {
	row := listenInARow(t, 2)
	engines := make([]*Engine, 2)
	for i := range engines {
		engines[i] = start(t, Config{Models: []string{"m"}, Ranks: 2, Speed: 200, Events: &EventsConfig{Connect: row[0].Addr().String(), FirstSequence: 1}})
	}
	var mu sync.Mutex
	sinks := map[kvevents.Publisher]*contents{}
	set := kvevents.NewSubscriber(kvevents.Options{Open: func(s kvevents.Publisher) kvevents.Sink {
		sink := &contents{copies: map[uint64]int{}}
		mu.Lock()
		defer mu.Unlock()
		sinks[s] = sink
		return sink
	}})
	defer set.Close()
	var sources []kvevents.Publisher
	for _, e := range engines {
		for rank := range e.ranks {
			sources = append(sources, kvevents.Publisher{Upstream: e.Addr(), Rank: rank})
		}
	}
	set.Follow(sources...)
	for rank, l := range row {
		n := kvevents.NewListener(set, l, rank)
		defer n.Close()
	}
	c := &kvClient{t: t, set: set, sources: sources}
	c.until("the same", func() bool {
		same := true
		for i, e := range engines {
			batches(t, e, 1+i) // the first message identifies a publisher
			for rank := range e.ranks {
				mu.Lock()
				sink := sinks[kvevents.Publisher{Upstream: e.Addr(), Rank: rank}]
				mu.Unlock()
				same = same && sink != nil && !sink.knows(kvevents.Unknown) && len(e.CachedBlocks(rank)) > 0
			}
		}
		return same
	})
	for _, e := range engines {
		post(t, e, "/reset_prefix_cache", "")
		batches(t, e, 4)
	}
	for _, e := range engines {
		for rank := range e.ranks {
			sink := sinks[kvevents.Publisher{Upstream: e.Addr(), Rank: rank}]
			c.until("the same", func() bool { return len(e.CachedBlocks(rank)) > 0 && sink.has(e.CachedBlocks(rank)) })
		}
	}
}

var _ kvevents.Sink = (*contents)(nil)
