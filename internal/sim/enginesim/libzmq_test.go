// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// libzmq is a process with real sockets (see testdata/subscriber.py).
type libzmq struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

// zmqMessage is the process's report of a message.
type zmqMessage struct {
	Parts, Rank   int
	Sequence      uint64
	Topic, Digest string
	Kinds         []string
}

func startLibzmq(t *testing.T) *libzmq {
	t.Helper()
	var command *exec.Cmd
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import zmq, msgpack").Run() == nil {
			command = exec.Command(name, "-I", "testdata/subscriber.py")
			break
		}
	}
	if command == nil {
		const text = "python3-zmq and python3-msgpack are missing; `make prerequisites` installs them"
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have ended by itself
		_ = command.Wait()
	})
	return &libzmq{t, in, bufio.NewReader(out)}
}

// do sends a command and decodes the answer.
func (z *libzmq) do(answer any, command object) {
	z.t.Helper()
	if _, err := z.in.Write(append(encode(nil, command), '\n')); err != nil {
		z.t.Fatal(err)
	}
	line, err := z.out.ReadBytes('\n')
	if err != nil {
		z.t.Fatal(err)
	}
	if answer != nil {
		if err := json.Unmarshal(line, answer); err != nil {
			z.t.Fatalf("%v in %s", err, line)
		}
	}
}

func (z *libzmq) receive(n int) (messages []zmqMessage) {
	z.t.Helper()
	z.do(&messages, object{"receive": n})
	if len(messages) != n {
		z.t.Fatalf("%d messages", len(messages))
	}
	return messages
}

// awaitSubscribers waits until the node has n subscribers.
func (z *libzmq) awaitSubscribers(e *Engine, n int) {
	z.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; {
		if e.Subscribers(0) == n {
			return
		}
		z.do(nil, object{"poll": 5})
	}
	z.t.Fatalf("%d subscribers, want %d", e.Subscribers(0), n)
}

// TestRealSubscriber checks that libzmq's SUB and DEALER understand the simulated
// publisher, heartbeats included, and Python's msgpack its payloads.
func TestRealSubscriber(t *testing.T) {
	for _, events := range []EventsConfig{
		{Replay: true, Topic: "kv@a", Encoding: EventMap},
		{Replay: true, Topic: "kv@a", Encoding: EventArray},
		{Replay: true, Topic: "kv@a", Encoding: EventSGLang},
		{Replay: true, Topic: "kv@a", WideHashes: true},
	} {
		z := startLibzmq(t)
		e := publishing(t, func(c *Config) { c.Events, c.CacheBlocks, c.OutputTokens = &events, 60, 9 })
		z.do(nil, object{"connect": e.EventsAddr(0), "topic": "kv@"})
		z.awaitSubscribers(e, 1)
		traffic(t, e, 1, 10, "m")
		live := z.receive(int(e.NextSequence(0)))
		removed := 0
		for i, m := range live {
			if m.Parts != 3 || m.Topic != "kv@a" || m.Sequence != uint64(i) || m.Rank != 0 || len(m.Kinds) == 0 {
				t.Fatalf("%s: message %d: %+v", events.Encoding, i, m)
			}
			for _, kind := range m.Kinds {
				if kind == blockRemoved {
					removed++
				}
			}
		}
		if removed == 0 || !strings.Contains(live[0].Digest, blockStored) {
			t.Errorf("%s tested nothing: %d removals, first %s", events.Encoding, removed, live[0].Digest)
		}
		var again []zmqMessage
		z.do(&again, object{"replay": e.ReplayAddr(0), "first": 2})
		if len(again) != len(live)-2 {
			t.Fatalf("%s: %d of %d replayed", events.Encoding, len(again), len(live))
		}
		for i, m := range again {
			want := 3
			if events.Encoding == "" || events.Encoding == EventMap {
				want = 4
			}
			if l := live[i+2]; m.Parts != want || m.Sequence != l.Sequence || m.Digest != l.Digest || !slices.Equal(m.Kinds, l.Kinds) {
				t.Errorf("%s: replayed %+v, want %+v", events.Encoding, m, l)
			}
		}
		if events.WideHashes && !testing.Short() { // once is enough
			// Longer than the heartbeat timeout of subscriber.py.
			time.Sleep(3500 * time.Millisecond)
			if e.Subscribers(0) != 1 {
				t.Error("the connection did not last")
			}
		}
		batches(t, e, 1)
		z.receive(1)
		z.do(nil, object{"unsubscribe": "kv@"})
		z.awaitSubscribers(e, 0)
	}
}

// TestRealListener checks that the publisher finds a libzmq SUB that binds, also
// after a restart.
func TestRealListener(t *testing.T) {
	z := startLibzmq(t)
	var address string
	z.do(&address, object{"bind": true, "topic": "kv@"})
	e := publishing(t, func(c *Config) { c.Events = &EventsConfig{Connect: address, FirstSequence: 1} })
	for range 2 {
		z.awaitSubscribers(e, 1)
		batches(t, e, 2)
		for i, m := range z.receive(2) {
			if m.Topic != "kv@"+e.Addr()+"@m" || m.Sequence != uint64(1+i) {
				t.Errorf("message %+v", m)
			}
		}
		if err := e.Restart(); err != nil {
			t.Fatal(err)
		}
	}
}
