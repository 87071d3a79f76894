// SPDX-License-Identifier: Apache-2.0

package lmcachesim

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// FaultKind is a way in which a server fails.
type FaultKind int

const (
	// Hang reads the request and never answers, until the client gives up or
	// the fault is over.
	Hang FaultKind = iota + 1
	// Delay waits for Fault.Delay of real time first.
	Delay
	// Status answers Fault.Status (default 500).
	Status
	// Garbage answers 200 with a body that is not JSON.
	Garbage
	// Huge answers 200 with Fault.Bytes of JSON without an end (default 64 MiB).
	Huge
	// Lie reports a staging as complete when nothing was done.
	Lie
	// Miscount reports more keys found than asked for.
	Miscount
	// Forever reports a staging as pending, forever.
	Forever
)

// Fault makes requests fail until Heal: those whose path begins with Path, "" for all.
type Fault struct {
	Kind   FaultKind
	Path   string
	Status int
	Delay  time.Duration
	Bytes  int
}

// Received is one request that a server has received.
type Received struct {
	Method, Path string
	Body         []byte
}

// maxBody bounds a request, in bytes: a million tokens of ten digits fit.
const maxBody = 16 << 20

// server is the part that both servers share: a listener, faults, and the record of
// requests.
type server struct {
	http   http.Server
	socket net.Listener
	done   sync.WaitGroup

	mu       sync.Mutex
	faults   []Fault
	healed   chan struct{} // closed by Heal
	received []Received
}

// call is a request and its answer.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	body []byte
	lie  FaultKind // Lie, Miscount or Forever
}

// open listens on an address and has serve answer.
func (s *server) open(address string, serve func(*call)) error {
	socket, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.socket, s.healed = socket, make(chan struct{})
	s.http.ErrorLog = log.New(io.Discard, "", 0) // tests make its clients fail
	s.http.ReadHeaderTimeout = time.Minute
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, serve) })
	s.done.Go(func() { _ = s.http.Serve(socket) }) // ends with the socket
	return nil
}

// Addr returns the server's host:port.
func (s *server) Addr() string { return s.socket.Addr().String() }

// URL returns its base URL.
func (s *server) URL() string { return "http://" + s.Addr() }

// Close ends all connections.
func (s *server) Close() {
	_ = s.http.Close()
	s.done.Wait()
}

// Fault adds faults.
func (s *server) Fault(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Heal ends all faults.
func (s *server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	close(s.healed)
	s.healed = make(chan struct{})
}

// Received returns the requests so far, oldest first.
func (s *server) Received() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received(nil), s.received...)
}

// maxReceived bounds the recorded requests.
const maxReceived = 1 << 14

func (s *server) answer(w http.ResponseWriter, r *http.Request, serve func(*call)) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return
	}
	s.mu.Lock()
	if len(s.received) < maxReceived {
		s.received = append(s.received, Received{r.Method, r.URL.EscapedPath(), body})
	}
	faults, healed := append([]Fault(nil), s.faults...), s.healed
	s.mu.Unlock()
	c := &call{w: w, r: r, body: body}
	w.Header().Set("Server", "lmcachesim (a simulation of LMCache)")
	for _, f := range faults {
		if strings.HasPrefix(r.URL.Path, f.Path) && !c.fail(f, healed) {
			return
		}
	}
	serve(c)
}

// fail applies a fault, and reports whether the request goes on.
func (c *call) fail(f Fault, healed <-chan struct{}) bool {
	switch f.Kind {
	case Hang:
		select {
		case <-healed:
		case <-c.r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	case Delay:
		select {
		case <-time.After(f.Delay):
		case <-c.r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	case Status:
		status := f.Status
		if status == 0 {
			status = http.StatusInternalServerError
		}
		c.detail(status, "the simulation was told to fail")
		return false
	case Garbage:
		c.send(http.StatusOK, []byte("<html>not JSON"))
		return false
	case Huge:
		c.huge(f.Bytes)
		return false
	default:
		c.lie = f.Kind
	}
	return true
}

func (c *call) huge(n int) {
	if n == 0 {
		n = 64 << 20
	}
	piece := bytes.Repeat([]byte("0,"), 32<<10)
	c.w.Header().Set("Content-Type", "application/json")
	_, err := c.w.Write([]byte(`{"results":[`))
	for ; n > 0 && err == nil; n -= len(piece) {
		_, err = c.w.Write(piece)
	}
}

// send answers with JSON.
func (c *call) send(status int, body []byte) {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // a client that has gone needs no answer
}

// json answers with a value.
func (c *call) json(status int, v any) { c.send(status, encode(v)) }

func encode(v any) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // all types are from this package
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// detail answers with an error.
func (c *call) detail(status int, text string) {
	c.json(status, struct {
		Detail string `json:"detail"`
	}{text})
}

// invalid is one error in a request's body.
type invalid struct {
	Kind  string `json:"type"`
	Where []any  `json:"loc"`
	What  string `json:"msg"`
}

// decode decodes the body. If it cannot, it answers 422 and reports false.
func (c *call) decode(into any) bool {
	err := json.Unmarshal(c.body, into)
	if err == nil {
		return true
	}
	mistake := invalid{Kind: "json_invalid", Where: []any{"body"}, What: "JSON decode error"}
	if wrong, ok := err.(*json.UnmarshalTypeError); ok {
		mistake = invalid{Kind: "type_error", Where: []any{"body", wrong.Field}, What: "Input should be of another type"}
	}
	c.invalid(mistake)
	return false
}

func (c *call) invalid(list ...invalid) {
	c.json(http.StatusUnprocessableEntity, struct {
		Detail []invalid `json:"detail"`
	}{list})
}

// field is a required field.
type field struct {
	name  string
	there bool
}

// missing answers 422 if fields are missing, and reports whether any is.
func (c *call) missing(fields ...field) bool {
	var list []invalid
	for _, f := range fields {
		if !f.there {
			list = append(list, invalid{Kind: "missing", Where: []any{"body", f.name}, What: "Field required"})
		}
	}
	if len(list) > 0 {
		c.invalid(list...)
	}
	return len(list) > 0
}
