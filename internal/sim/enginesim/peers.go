// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"context"
	"net"
	"sync"
	"time"
)

// redial is the pause between two attempts to connect.
const redial = 20 * time.Millisecond

// peers is one socket: an address that it listens on or dials, and its
// connections. It can be closed and opened again on the same address.
type peers struct {
	serve func(ctx context.Context, conn net.Conn) // serves one connection; ctx ends with it

	mu       sync.Mutex
	listener net.Listener       // nil: closed, or dialling
	cancel   context.CancelFunc // ends everything; nil: closed
	conns    map[net.Conn]context.CancelFunc
	running  sync.WaitGroup
}

// listen serves the connections to an address.
func (p *peers) listen(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	p.accept(listener)
	return nil
}

// listenAgain is listen on an earlier address.
func (p *peers) listenAgain(address string) error {
	listener, err := listenAgain(address)
	if err != nil {
		return err
	}
	p.accept(listener)
	return nil
}

func (p *peers) accept(listener net.Listener) {
	ctx := p.begin(listener)
	p.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.handle(ctx, conn) })
		}
	})
}

// dial keeps a connection to an address.
func (p *peers) dial(address string) {
	ctx := p.begin(nil)
	p.running.Go(func() {
		var d net.Dialer
		for ctx.Err() == nil {
			if conn, err := d.DialContext(ctx, "tcp", address); err == nil {
				p.handle(ctx, conn)
			}
			select {
			case <-time.After(redial):
			case <-ctx.Done():
			}
		}
	})
}

func (p *peers) begin(listener net.Listener) context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	p.listener, p.cancel, p.conns = listener, cancel, make(map[net.Conn]context.CancelFunc)
	return ctx
}

func (p *peers) handle(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	open := p.cancel != nil
	if open {
		p.conns[conn] = cancel
	}
	p.mu.Unlock()
	if open {
		p.serve(ctx, conn)
	}
	cancel()
	_ = conn.Close()
	p.mu.Lock()
	delete(p.conns, conn)
	p.mu.Unlock()
}

// drop ends all current connections.
func (p *peers) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn, cancel := range p.conns {
		cancel()
		_ = conn.Close()
	}
}

// close ends everything and waits for its end.
func (p *peers) close() {
	p.mu.Lock()
	if p.cancel != nil {
		p.cancel()
		p.cancel = nil
	}
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.drop()
	p.running.Wait()
}
