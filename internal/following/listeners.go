// SPDX-License-Identifier: Apache-2.0

package following

import (
	"errors"
	"net"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

var errListening = errors.New("events: cannot listen at this address")

// listeners accept the publishers that connect to the gateway, one port for
// each rank.
type listeners struct {
	ranks       []*kvevents.Listener
	subscribers map[*Subscriber]struct{}
}

// listen opens the ports of a subscriber. A config that is reloaded takes over
// the open ports of the config before.
func (s *Subscriptions) listen(subscriber *Subscriber) error {
	if subscriber.Events == nil || subscriber.Events.Listen == "" {
		return nil
	}
	if err := s.bind(subscriber); err != nil {
		s.unlisten(subscriber)
		return err
	}
	return nil
}

// bind opens the ports that are not open yet.
func (s *Subscriptions) bind(subscriber *Subscriber) error {
	address := subscriber.Events.Listen
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listeners[address]
	if l == nil {
		l = &listeners{subscribers: make(map[*Subscriber]struct{})}
		s.listeners[address] = l
	}
	l.subscribers[subscriber] = struct{}{}
	for len(l.ranks) < subscriber.Events.Ranks {
		listener, err := net.Listen("tcp", endpoint.AddPort(address, len(l.ranks)))
		if err != nil {
			return errListening
		}
		l.ranks = append(l.ranks, kvevents.NewListener(s.client, listener, len(l.ranks)))
	}
	return nil
}

// unlisten takes a subscriber off its ports; the last one closes them. The ports
// are free when it returns.
func (s *Subscriptions) unlisten(subscriber *Subscriber) {
	address := subscriber.Events.Listen
	s.mu.Lock()
	l := s.listeners[address]
	if l == nil {
		s.mu.Unlock()
		return
	}
	delete(l.subscribers, subscriber)
	unused := len(l.subscribers) == 0
	if unused {
		delete(s.listeners, address)
	}
	s.mu.Unlock()
	if unused {
		l.close()
	}
}

func (l *listeners) close() {
	for _, listener := range l.ranks {
		listener.Close()
	}
}
