// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// silent discards the log of servers whose clients are made to fail.
var silent = log.New(io.Discard, "", 0)

// FaultKind is a kind of failure of a node.
type FaultKind int

const (
	// Refuse closes the listener and the idle connections, until Heal.
	// Requests under way go on.
	Refuse FaultKind = iota + 1
	// Crash ends every connection and request, empties the cache and refuses
	// connections, until Heal. KV events begin again from their first number.
	Crash
	// Hang reads the request and never answers, until the client gives up or
	// Heal.
	Hang
	// Delay waits for Fault.Delay of real time before working on the request.
	Delay
	// Status answers Fault.Status (default 500) with an error body.
	Status
	// Reset reads the whole request, then resets the connection.
	Reset
	// Cut ends the connection after Fault.Chunks records of a stream, or in the
	// middle of an answer that is no stream.
	Cut
	// Stall stops after Fault.Chunks records of a stream, until the client gives
	// up or Heal.
	Stall
	// Gzip compresses the answer, whether the client accepts it or not.
	Gzip
)

// Fault makes requests fail. Several faults may apply to one request.
type Fault struct {
	Kind FaultKind
	// Path selects the requests whose path ends in it. Default: every POST, so
	// that probes and scrapes keep working.
	Path string
	// Skip is the number of matching requests that pass first.
	Skip int
	// Count is the number of requests to fail after those. Default: all until Heal.
	Count int
	// Status is the answer's status for Status.
	Status int
	// RetryAfter is the answer's Retry-After header for Status. Default: none.
	RetryAfter string
	// Delay is the real time that Delay and SlowEvents wait.
	Delay time.Duration
	// Chunks is the number of records that are sent before Cut and Stall, and of
	// batches before TruncateReplay.
	Chunks int
}

// faultList holds the faults in force.
type faultList struct {
	mu      sync.Mutex
	list    []*Fault
	changed chan struct{} // closed by heal, which wakes hanging requests
}

// Fault adds faults. Refuse and Crash act at once; without a listener they are
// errors.
func (e *Engine) Fault(faults ...Fault) error {
	for _, f := range faults {
		switch f.Kind {
		case Refuse, Crash:
			if e.Addr() == "" {
				return errors.New("enginesim: refusing connections needs a listener")
			}
			e.listener.refuse(f.Kind == Crash)
			if f.Kind == Crash {
				e.crash()
			}
		case Hang, Delay, Status, Reset, Cut, Stall, Gzip:
			e.faults.add(f)
		default:
			if f.Kind.isEventFault() {
				if err := e.eventFault(f); err != nil {
					return err
				}
				continue
			}
			return errors.New("enginesim: unknown kind of fault")
		}
	}
	return nil
}

// Heal ends all faults, and hanging requests continue. It fails if another process
// took the node's port while it refused connections.
func (e *Engine) Heal() error {
	e.faults.heal()
	return errors.Join(e.reopenEvents(), e.listener.reopen())
}

func (l *faultList) add(f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, &f)
}

func (l *faultList) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = nil
	close(l.changed)
	l.changed = make(chan struct{})
}

// requestFaults holds the faults that apply to one request.
type requestFaults struct {
	hang, reset, gzip bool
	status            int
	retryAfter        string
	delay             time.Duration
	cut, stall        int // records to send before; -1: no such fault
	healed            <-chan struct{}
}

// match counts a request against all faults and returns those that apply.
func (l *faultList) match(r *http.Request) requestFaults {
	h := requestFaults{cut: -1, stall: -1}
	l.mu.Lock()
	defer l.mu.Unlock()
	h.healed = l.changed
	kept := l.list[:0]
	for _, f := range l.list {
		if !f.matches(r) {
			kept = append(kept, f)
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			kept = append(kept, f)
			continue
		}
		h.add(f)
		if f.Count != 1 { // the last one removes it; 0 never becomes 1
			if f.Count > 0 {
				f.Count--
			}
			kept = append(kept, f)
		}
	}
	clear(l.list[len(kept):])
	l.list = kept
	return h
}

func (f *Fault) matches(r *http.Request) bool {
	if f.Kind.isEventFault() {
		return false
	}
	if f.Path == "" {
		return r.Method == http.MethodPost
	}
	return strings.HasSuffix(r.URL.Path, f.Path)
}

func (h *requestFaults) add(f *Fault) {
	switch f.Kind {
	case Hang:
		h.hang = true
	case Delay:
		h.delay += f.Delay
	case Status:
		h.status, h.retryAfter = f.Status, f.RetryAfter
		if h.status == 0 {
			h.status = http.StatusInternalServerError
		}
	case Reset:
		h.reset = true
	case Cut:
		h.cut = f.Chunks
	case Stall:
		h.stall = f.Chunks
	case Gzip:
		h.gzip = true
	}
}

// before applies the faults ahead of an answer. It reports whether the request
// continues.
func (h *requestFaults) before(c *call) bool {
	if h.delay > 0 {
		c.pause(time.After(h.delay), nil)
	}
	if h.hang {
		c.pause(nil, h.healed)
	}
	if h.reset {
		resetConnection(c.w)
		return false
	}
	if h.status != 0 {
		if h.retryAfter != "" {
			c.w.Header().Set("Retry-After", h.retryAfter)
		}
		c.fail(&apiError{h.status, "InternalServerError", "the simulated engine was told to fail"})
		return false
	}
	return true
}

// resetConnection makes the client see a connection reset by peer.
func resetConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2 or a recorder, which can only abort
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
