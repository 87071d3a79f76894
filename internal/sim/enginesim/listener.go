// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// listener serves a handler on one address, which it can close and open again.
// While it is closed, connections fail as with a node that is down.
type listener struct {
	mu      sync.Mutex
	addr    string // set by the first open
	handler http.Handler
	server  *http.Server // nil while closed
	socket  net.Listener
	serving sync.WaitGroup
}

// open binds, calls ready with the address and, unless that fails, serves.
func (l *listener) open(address string, handler http.Handler, ready func(address string) error) error {
	socket, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	if err := ready(socket.Addr().String()); err != nil {
		_ = socket.Close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr, l.handler = socket.Addr().String(), handler
	l.serve(socket)
	return nil
}

// serve starts a server; the caller holds mu.
func (l *listener) serve(socket net.Listener) {
	l.socket = socket
	l.server = &http.Server{
		Handler:           l.handler,
		ReadHeaderTimeout: time.Minute,
		// Reset connections and the panics of faults are expected.
		ErrorLog: silent,
	}
	server := l.server
	l.serving.Go(func() { _ = server.Serve(socket) }) // ends with the socket
}

func (l *listener) address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr
}

// refuse closes the socket and the idle connections; hard also ends requests under
// way.
func (l *listener) refuse(hard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server == nil {
		return
	}
	if hard {
		_ = l.server.Close()
	} else {
		_ = l.socket.Close()
		l.server.SetKeepAlivesEnabled(false)
	}
	l.server, l.socket = nil, nil
}

// reopen listens again on the same address. It fails if another process has taken
// the port.
func (l *listener) reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addr == "" || l.server != nil {
		return nil
	}
	socket, err := listenAgain(l.addr)
	if err != nil {
		return err
	}
	l.serve(socket)
	return nil
}

// Attempts to get a closed port back, and the pause between two of them.
const (
	againTries = 100
	againPause = 20 * time.Millisecond
)

// listenAgain listens on an earlier address. It retries, because the kernel may
// have given the port to an outgoing connection, usually for a short time.
func listenAgain(address string) (socket net.Listener, err error) {
	for range againTries {
		if socket, err = net.Listen("tcp", address); err == nil {
			return socket, nil
		}
		time.Sleep(againPause)
	}
	return nil, err
}

func (l *listener) close() {
	l.refuse(true)
	l.serving.Wait()
}
