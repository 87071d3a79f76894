// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// publishing returns a node that publishes with replay.
func publishing(t *testing.T, change func(*Config)) *Engine {
	t.Helper()
	cfg := Config{OutputTokens: 1, Models: []string{"m"}, Events: &EventsConfig{Replay: true}, Speed: 1000}
	if change != nil {
		change(&cfg)
	}
	return start(t, cfg)
}

// batches makes the node publish so many batches, each with one block.
func batches(t *testing.T, e *Engine, n int) {
	t.Helper()
	for range n {
		text := fmt.Sprintf("%032d%032d", e.NextSequence(0), 0)
		post(t, e, "/v1/completions", `{"prompt":"`+text+`"}`)
	}
}

func wantSequences(t *testing.T, c *zmtpClient, want ...uint64) {
	t.Helper()
	for _, w := range want {
		if _, got, _ := c.next(); got != w {
			t.Fatalf("batch %d, want %d", got, w)
		}
	}
}

// TestSubscriptions subscribes by message and by command, several times, and
// unsubscribes one by one.
func TestSubscriptions(t *testing.T) {
	e := publishing(t, func(c *Config) { c.Events.Topic = "kv@a@m" })
	c := subscribed(t, e, 0, "kv@")
	c.send("\x04\x10\x09SUBSCRIBEkv@a@m") // 3.1
	batches(t, e, 1)
	wantSequences(t, c, 0)
	c.send("\x00\x04\x00kv@") // the other one is left
	c.send("\x04\x0a\x04PING\x00\x00ctx")
	if flags, body, err := c.frame(); err != nil || flags != 4 || string(body) != "\x04PONGctx" {
		t.Fatalf("PONG: %x %q %v", flags, body, err)
	}
	batches(t, e, 1)
	wantSequences(t, c, 1)
	c.send("\x04\x0d\x06CANCELkv@a@m")
	c.await(func() bool { return e.Subscribers(0) == 0 })
	batches(t, e, 1)
	c.send("\x00\x01\x01")
	c.await(func() bool { return e.Subscribers(0) == 1 })
	batches(t, e, 1)
	wantSequences(t, c, 3)

	// Every subscriber gets every batch, and one that leaves is forgotten.
	other := subscribed(t, e, 0, "")
	batches(t, e, 1)
	wantSequences(t, c, 4)
	wantSequences(t, other, 4)
	other.conn.Close()
	c.await(func() bool { return e.Subscribers(0) == 1 })
	batches(t, e, 1)
	wantSequences(t, c, 5)
}

// TestPeersThatDoNotFit checks that a peer that is no subscriber loses its connection
// and disturbs no other.
func TestPeersThatDoNotFit(t *testing.T) {
	e := publishing(t, nil)
	good := subscribed(t, e, 0, "")
	ends := func(c *zmtpClient) {
		t.Helper()
		c.deadline(10 * time.Second)
		for {
			if _, _, err := c.frame(); err != nil {
				if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
					t.Fatal("the connection stays open")
				}
				return
			}
		}
	}
	ends(dialZMTP(t, e.EventsAddr(0), readyDealer))
	ends(dialZMTP(t, e.ReplayAddr(0), readySub))
	ends(dialZMTP(t, e.EventsAddr(0), "\x00\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"))
	ends(dialZMTP(t, e.EventsAddr(0), "\x04\x19\x05READY\x0bSocket-Type\x00\x00\xff\x03SUB"))
	for _, wire := range []string{
		"\x02\x00\x00\x00\x00\x00\x02\x00\x00", "\x02\xff\xff\xff\xff\xff\xff\xff\xff",
		strings.Repeat("\x01\x00", 9), "\x04\x05\x04PING",
	} {
		c := dialZMTP(t, e.EventsAddr(0), readySub)
		c.send(wire)
		ends(c)
	}
	conn, err := net.Dial("tcp", e.EventsAddr(0))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: example\r\n\r\n%064d", 0)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := readAll(conn); n != 64 || err != nil {
		t.Errorf("%d bytes for a browser, %v", n, err)
	}
	// Neither an empty message nor an unknown command is a subscription.
	c := dialZMTP(t, e.EventsAddr(0), readySub)
	c.send("\x00\x00\x00\x02\x07a\x04\x04\x03XYZ")
	batches(t, e, 1)
	wantSequences(t, good, 0)
	c.silent(30 * time.Millisecond)
	if n := e.Subscribers(0); n != 1 {
		t.Errorf("%d subscribers", n)
	}
}

func readAll(conn net.Conn) (n int, err error) {
	b := make([]byte, 4096)
	for {
		m, err := conn.Read(b)
		n += m
		if err != nil {
			if err, ok := err.(net.Error); ok && err.Timeout() {
				return n, err
			}
			return n, nil
		}
	}
}

// TestReplay checks both forms of reply, from any number, and that invalid requests
// get none.
func TestReplay(t *testing.T) {
	for form, want := range map[string]int{"yes": 4, "no": 3} {
		e := publishing(t, func(c *Config) { c.Events.ReplayTopic, c.Events.BufferSteps = form, 6 })
		live := subscribed(t, e, 0, "")
		batches(t, e, 9)
		c := dialZMTP(t, e.ReplayAddr(0), readyDealer)
		c.send("\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00") // no delimiter
		c.send("\x01\x00\x00\x01\x00")                     // no number
		for from, first := range map[uint64]uint64{0: 3, 5: 5, 8: 8, 9: 9} {
			got := c.replay(from)
			if len(got) != int(9-first)+1 {
				t.Fatalf("%s from %d: %d messages", form, from, len(got))
			}
			for i, parts := range got {
				if len(parts) != want || len(parts[0]) != 0 || want == 4 && len(parts[1]) != 0 {
					t.Fatalf("%s: %q", form, parts)
				}
				number, payload := parts[want-2], parts[want-1]
				if i == len(got)-1 {
					if len(payload) != 0 && want == 4 {
						t.Errorf("end marker with %x", payload)
					}
					continue
				}
				if n := binary.BigEndian.Uint64(number); n != first+uint64(i) {
					t.Fatalf("%s: batch %d", form, n)
				}
				if b := decodeBatch(t, payload); len(b.events) == 0 {
					t.Error("a batch without events")
				}
			}
		}
		for i := range uint64(9) {
			wantSequences(t, live, i)
		}
	}
}

// TestReplayIsTheLiveStream checks that a late follower ends up with the same cache.
func TestReplayIsTheLiveStream(t *testing.T) {
	e := publishing(t, func(c *Config) { c.CacheBlocks, c.OutputTokens, c.Models = 60, 20, []string{"m", "ad"} })
	traffic(t, e, 1, 12, "m", "ad")
	m := newMirror()
	for _, parts := range dialZMTP(t, e.ReplayAddr(0), readyDealer).replay(0) {
		if len(parts[3]) > 0 {
			for _, event := range decodeBatch(t, parts[3]).events {
				m.apply(t, event)
			}
		}
	}
	if !maps.Equal(m.copies, e.CachedBlocks(0)) || len(m.copies) == 0 {
		t.Errorf("replayed %d blocks, the cache holds %d", len(m.copies), len(e.CachedBlocks(0)))
	}
}

// TestSubscriberTooSlow checks that a subscriber at the high-water mark loses batches
// in the middle, and that no other waits for it.
func TestSubscriberTooSlow(t *testing.T) {
	e := publishing(t, func(c *Config) { c.Events.HWM = 4 })
	c := subscribed(t, e, 0, "")
	fault(t, e, Fault{Kind: HangEvents})
	batches(t, e, 20)
	c.silent(30 * time.Millisecond)
	if err := e.Heal(); err != nil {
		t.Fatal(err)
	}
	wantSequences(t, c, 0, 1, 2, 3)
	c.silent(30 * time.Millisecond)
	batches(t, e, 1)
	wantSequences(t, c, 20)
}

// TestPipe checks that a pipe is full at the high-water mark, until half was taken.
func TestPipe(t *testing.T) {
	p := newPipe(4)
	m := []byte("m")
	fill := func() (n int) {
		for p.put(m, false) {
			n++
		}
		return n
	}
	if n := fill(); n != 4 || p.dropped != 1 {
		t.Errorf("%d fit, %d dropped", n, p.dropped)
	}
	p.take()
	if n := fill(); n != 0 {
		t.Errorf("%d fit after one was taken", n)
	}
	p.take()
	if n := fill(); n != 2 {
		t.Errorf("%d fit after two were taken", n)
	}
	waited := make(chan bool)
	go func() { waited <- p.put(m, true) }()
	p.take()
	p.take()
	if !<-waited {
		t.Error("who waits for room does not get it")
	}
	go func() {
		for p.put(m, true) {
		}
		waited <- false
	}()
	p.close()
	if <-waited {
		t.Error("a closed pipe takes messages")
	}
	if _, ok := p.take(); ok {
		t.Error("a closed pipe has messages")
	}
}

// listenInARow listens on consecutive ports.
func listenInARow(t *testing.T, n int) (row []net.Listener) {
	t.Helper()
	for range 100 {
		port, err := freePort("127.0.0.1")
		for i := range n {
			var l net.Listener
			if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i)); err != nil {
				break
			}
			t.Cleanup(func() { l.Close() })
			row = append(row, l)
		}
		if err == nil {
			return row
		}
		for _, l := range row {
			l.Close()
		}
		row = nil
	}
	t.Fatal("no free ports")
	return nil
}

// TestConnectOut tests publishers that dial the subscriber, with the node's address
// in the topic.
func TestConnectOut(t *testing.T) {
	row := listenInARow(t, 2)
	e := publishing(t, func(c *Config) {
		c.Events = &EventsConfig{Connect: row[0].Addr().String(), FirstSequence: 1}
		c.Ranks = 2
	})
	var clients [2]*zmtpClient
	accept := func() {
		for i, l := range row {
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			clients[i] = openZMTP(t, conn, readySub)
			clients[i].send("\x00\x04\x01kv@")
		}
		clients[0].await(func() bool { return e.Subscribers(0) == 1 && e.Subscribers(1) == 1 })
	}
	accept()
	if e.EventsAddr(0) != "" {
		t.Error("it listens as well")
	}
	for rank, c := range clients {
		pinned(t, e, strconv.Itoa(rank), strings.Repeat("four", 16))
		topic, sequence, b := c.next()
		if topic != "kv@"+e.Addr()+"@m" || sequence != 1 || b.rank != rank {
			t.Errorf("rank %d: topic %q, batch %d of rank %d", rank, topic, sequence, b.rank)
		}
	}
	// It connects again, after a disconnection and after a restart.
	fault(t, e, Fault{Kind: DisconnectEvents})
	accept()
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	accept()
}

// TestEventPorts checks that rank n has port + n, on the node's own host.
func TestEventPorts(t *testing.T) {
	port := func(address string) int {
		host, p, err := net.SplitHostPort(address)
		n, _ := strconv.Atoi(p)
		if err != nil || host != "127.0.0.1" || n == 0 {
			t.Fatalf("address %q", address)
		}
		return n
	}
	e := publishing(t, func(c *Config) { c.Ranks, c.Events.Sources, c.Events.Topic = 3, true, "t" })
	var sources map[string]struct {
		Publisher, Endpoint, Topic string
		Replay                     string `json:"replay_endpoint"`
	}
	_, body := get(t, e, "/kv_event_sources")
	if err := json.Unmarshal([]byte(body), &sources); err != nil || len(sources) != 3 {
		t.Fatalf("%v %s", err, body)
	}
	for rank := range 3 {
		if port(e.EventsAddr(rank)) != port(e.EventsAddr(0))+rank || port(e.ReplayAddr(rank)) != port(e.ReplayAddr(0))+rank {
			t.Errorf("rank %d at %s and %s", rank, e.EventsAddr(rank), e.ReplayAddr(rank))
		}
		s := sources[strconv.Itoa(rank)]
		if s.Publisher != "zmq" || s.Endpoint != "tcp://"+e.EventsAddr(rank) || s.Replay != "tcp://"+e.ReplayAddr(rank) || s.Topic != "t" {
			t.Errorf("source %+v", s)
		}
	}
	taken := Config{Events: &EventsConfig{Port: port(e.EventsAddr(0)) - 1}, Ranks: 2}
	if other, err := Start(taken); err == nil {
		other.Close()
		t.Error("two nodes on one port")
	}
	if _, err := StartAt(Config{}, e.Addr()); err == nil {
		t.Error("two nodes on one port")
	}
	for _, c := range []EventsConfig{
		{Encoding: "xml"}, {Port: -1}, {Port: 65535}, {HWM: -1}, {BufferSteps: -1}, {ReplayTopic: "maybe"}, {ReplayHWM: -1},
		{Encoding: EventSGLang, WideHashes: true}, {Connect: "127.0.0.1"}, {Connect: "127.0.0.1:x"},
	} {
		if e, err := New(Config{Events: &c}); err == nil {
			e.Close()
			t.Errorf("%+v makes a node", c)
		}
	}
}

// TestNodesHaveOnePort checks that a gateway needs one event port for all nodes.
func TestNodesHaveOnePort(t *testing.T) {
	nodes, err := StartNodes(Config{Ranks: 2, Events: &EventsConfig{Replay: true}, Speed: 100}, 3)
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]bool{}
	for _, e := range nodes {
		t.Cleanup(e.Close)
		host, port, _ := net.SplitHostPort(e.EventsAddr(1))
		_, first, _ := net.SplitHostPort(nodes[0].EventsAddr(1))
		own, _, _ := net.SplitHostPort(e.Addr())
		if port != first || host != own {
			t.Errorf("%s publishes at %s", e.Addr(), e.EventsAddr(1))
		}
		hosts[host] = true
		c := subscribed(t, e, 0, "")
		if status := pinned(t, e, "0", strings.Repeat("four", 16)); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
		wantSequences(t, c, 0)
	}
	if len(hosts) != 3 {
		t.Errorf("hosts %v", hosts)
	}
}
