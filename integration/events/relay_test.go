// SPDX-License-Identifier: Apache-2.0

package events

import (
	"io"
	"net"
	"sync"
	"testing"
)

// relay is a network between the gateway and an engine's events, which can be cut
// and mended.
type relay struct {
	at, to string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]struct{}
	passing  sync.WaitGroup
}

// startRelay forwards connections from one address to another, until the end of
// the test.
func startRelay(t testing.TB, at, to string) *relay {
	t.Helper()
	r := &relay{at: at, to: to, conns: make(map[net.Conn]struct{})}
	r.mend(t)
	t.Cleanup(r.cut)
	return r
}

func (r *relay) mend(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", r.at)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener = l
	r.passing.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.passing.Go(func() { r.pass(c) })
		}
	})
}

// keep remembers a connection for cut to close. It returns false after a cut.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener == nil {
		c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *relay) pass(c net.Conn) {
	defer c.Close()
	onward, err := net.Dial("tcp", r.to)
	if err != nil || !r.keep(c) || !r.keep(onward) {
		return
	}
	defer onward.Close()
	r.passing.Go(func() {
		io.Copy(onward, c)
		onward.Close()
	})
	io.Copy(c, onward)
}

// cut closes all connections and refuses new ones.
func (r *relay) cut() {
	r.mu.Lock()
	if r.listener != nil {
		r.listener.Close()
		r.listener = nil
	}
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
	r.mu.Unlock()
	r.passing.Wait()
}
