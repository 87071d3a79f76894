// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
)

// portTries bounds the attempts to find consecutive free ports.
const portTries = 100

// openEvents gives each rank's publisher its sockets. host is the node's own.
func (e *Engine) openEvents(host string) error {
	c := e.cfg.Events
	if c == nil {
		return nil
	}
	if c.Host != "" {
		host = c.Host
	}
	if c.Connect != "" {
		for _, r := range e.ranks {
			r.publisher.pub.dial(c.subscriber(r.id))
		}
	} else if err := openPorts(host, c.Port, e.ranks, func(r *rank) (*peers, *string) { return &r.publisher.pub, &r.events }); err != nil {
		return err
	}
	if !c.Replay {
		return nil
	}
	return openPorts(host, c.ReplayPort, e.ranks, func(r *rank) (*peers, *string) { return &r.publisher.router, &r.replay })
}

// subscriber returns the address that a rank connects to.
func (c *EventsConfig) subscriber(rank int) string {
	host, _, _ := net.SplitHostPort(c.Connect)
	return net.JoinHostPort(host, strconv.Itoa(portOf(c.Connect)+rank))
}

// nameTopics sets the topics of publishers that connect out: there only the topic
// identifies the node.
func (e *Engine) nameTopics(address string) {
	c := e.cfg.Events
	if c == nil || c.Connect == "" || c.Topic != "" {
		return
	}
	for _, r := range e.ranks {
		r.publisher.topic = []byte("kv@" + address + "@" + e.cfg.models()[0])
	}
}

// openPorts opens one socket per rank on consecutive ports: from base, or any free
// ones if base is 0.
func openPorts(host string, base int, ranks []*rank, socket func(*rank) (*peers, *string)) error {
	for try := 0; ; try++ {
		first, err := base, error(nil)
		if first == 0 {
			if first, err = freePort(host); err != nil {
				return err
			}
		}
		opened := 0
		for _, r := range ranks {
			p, address := socket(r)
			*address = net.JoinHostPort(host, strconv.Itoa(first+r.id))
			if err = p.listen(*address); err != nil {
				break
			}
			opened++
		}
		if err == nil {
			return nil
		}
		for _, r := range ranks[:opened] {
			p, _ := socket(r)
			p.close()
		}
		if base != 0 || try == portTries {
			return fmt.Errorf("enginesim: listening for subscribers of events: %w", err)
		}
	}
}

// freePort returns a port that is free at the moment.
func freePort(host string) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// reopenEvents opens the sockets at their old addresses after a crash.
func (e *Engine) reopenEvents() error {
	if !e.down.CompareAndSwap(true, false) || e.cfg.Events == nil {
		return nil
	}
	var failures []error
	for _, r := range e.ranks {
		if r.events != "" {
			failures = append(failures, r.publisher.pub.listenAgain(r.events))
		} else {
			r.publisher.pub.dial(e.cfg.Events.subscriber(r.id))
		}
		if r.replay != "" {
			failures = append(failures, r.publisher.router.listenAgain(r.replay))
		}
	}
	return errors.Join(failures...)
}

// publishing returns a rank, nil if the node has no such rank or publishes nothing.
func (e *Engine) publishing(rank int) *rank {
	if e.cfg.Events == nil || rank < 0 || rank >= len(e.ranks) {
		return nil
	}
	return e.ranks[rank]
}

// EventsAddr returns host:port of a rank's PUB socket, empty without one. It stays
// the same while the node is down.
func (e *Engine) EventsAddr(rank int) string {
	if r := e.publishing(rank); r != nil {
		return r.events
	}
	return ""
}

// ReplayAddr returns host:port of a rank's ROUTER socket, empty without one.
func (e *Engine) ReplayAddr(rank int) string {
	if r := e.publishing(rank); r != nil {
		return r.replay
	}
	return ""
}

// Published returns how many batches of events a rank has published since its start.
func (e *Engine) Published(rank int) uint64 {
	if e.publishing(rank) == nil {
		return 0
	}
	return e.NextSequence(rank) - e.cfg.Events.FirstSequence
}

// NextSequence returns the sequence number of a rank's next batch of events.
func (e *Engine) NextSequence(rank int) uint64 {
	r := e.publishing(rank)
	if r == nil {
		return 0
	}
	r.publisher.mu.Lock()
	defer r.publisher.mu.Unlock()
	return r.publisher.next
}

// Subscribers returns how many connections have subscribed to a rank's topic.
func (e *Engine) Subscribers(rank int) int {
	r := e.publishing(rank)
	if r == nil {
		return 0
	}
	r.publisher.mu.Lock()
	defer r.publisher.mu.Unlock()
	n := 0
	for s := range r.publisher.subscribers {
		if s.matches(r.publisher.topic) {
			n++
		}
	}
	return n
}

// CachedBlocks returns the true content of a rank's prefix cache: the number of
// copies of each block, by its name in events.
func (e *Engine) CachedBlocks(rank int) map[uint64]int {
	r := e.publishing(rank)
	if r == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	held := make(map[uint64]int)
	for i := range r.sched.cache.blocks {
		if b := &r.sched.cache.blocks[i]; b.hashed {
			held[r.recorder.name(b.hash)]++
		}
	}
	return held
}

// eventSources answers GET /kv_event_sources with each rank's publisher.
func (c *call) eventSources() {
	events := c.engine.cfg.Events
	if events == nil || !events.Sources {
		c.json(http.StatusNotFound, map[string]string{"detail": "Not Found"})
		return
	}
	sources := object{}
	for _, r := range c.engine.ranks {
		endpoint, replay := "tcp://"+r.events, any(nil)
		if r.events == "" {
			endpoint = "tcp://" + events.subscriber(r.id)
		}
		if r.replay != "" {
			replay = "tcp://" + r.replay
		}
		sources[strconv.Itoa(r.id)] = object{
			"enable_kv_cache_events": true, "publisher": "zmq", "endpoint": endpoint, "replay_endpoint": replay,
			"buffer_steps": events.BufferSteps, "hwm": events.HWM, "max_queue_size": 100000, "topic": string(r.publisher.topic),
		}
	}
	c.json(http.StatusOK, sources)
}
