// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// failingWay is a way in which both engines of a site fail every request.
type failingWay struct {
	name     string
	answer   http.HandlerFunc // of the engines; nil: they refuse connections
	stream   bool             // what the client asks for
	patience time.Duration    // of the client
}

const longPatience = time.Minute

var failingWays = []failingWay{
	{"refuses", nil, false, longPatience},
	{"resets behind the body", func(w http.ResponseWriter, _ *http.Request) { hangUp(w, true) }, false, longPatience},
	{"closes behind the body", func(w http.ResponseWriter, _ *http.Request) { hangUp(w, false) }, true, longPatience},
	{"answers 500", answerStatus(http.StatusInternalServerError), false, longPatience},
	{"answers 429, Retry-After", answerStatus(http.StatusTooManyRequests), true, longPatience},
	{"answers 404", answerStatus(http.StatusNotFound), false, longPatience},
	{"cuts streams", func(w http.ResponseWriter, _ *http.Request) {
		beginStream(w)
		panic(http.ErrAbortHandler)
	}, true, longPatience},
	{"ends streams early", func(w http.ResponseWriter, _ *http.Request) { beginStream(w) }, true, longPatience},
	{"cuts whole answers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"choices":[`)
		panic(http.ErrAbortHandler)
	}, false, longPatience},
	{"hangs, and clients leave", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, true, 20 * time.Millisecond},
	{"stalls, and clients leave", func(w http.ResponseWriter, r *http.Request) {
		beginStream(w)
		<-r.Context().Done()
	}, true, 20 * time.Millisecond},
}

// beginStream sends the first two events of a stream.
func beginStream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	for range 2 {
		_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"x"}}]}`+"\n\n")
	}
	w.(http.Flusher).Flush()
}

func answerStatus(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":{"message":"told to fail"}}`)
	}
}

func hangUp(w http.ResponseWriter, reset bool) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if reset {
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	_ = conn.Close()
}

// Rounds of failed requests. Between two rounds no connection is open.
const (
	roundRequests = 150
	leastRounds   = 3
	mostRounds    = 12

	// What a failed request may leave, on average.
	mostObjects = 0.5
	mostBytes   = 128
)

// Failed requests leave nothing on the heap. Connections, pools and the runtime keep
// some hundred objects more or less at any time. So rounds are added until the
// growth for each request shows to be less than one object; with a leak it never
// does. The engines and the clients here keep nothing.
func TestFailuresLeaveNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("sends some thousand requests")
	}
	for _, way := range failingWays {
		t.Run(way.name, func(t *testing.T) { startFailingSite(t, way).checkHeap() })
	}
}

// failingSite is a gateway in front of engines that fail.
type failingSite struct {
	t          *testing.T
	way        failingWay
	engines    []*httptest.Server
	gateway    *harness.Gateway
	sent       int
	goroutines int // when nothing is under way; 0: not known yet
}

func startFailingSite(t *testing.T, way failingWay) *failingSite {
	t.Helper()
	c := &failingSite{t: t, way: way, engines: []*httptest.Server{startFailing(t, way), startFailing(t, way)}}
	// Options that keep something for each request. Not events and lmcache: prompts
	// wait up to half a minute for an engine that gives no tokens.
	config := harness.Adapt(t, "caddyfile", fmt.Sprintf(`:8080 {
		pii_janitor
		reverse_proxy %s %s {
			lb_policy kv_aware {
				keepalive 1s
				usage inject
				max_wait 1h
				tenant {http.request.host}
			}
		}
	}`, c.engines[0].Listener.Addr(), c.engines[1].Listener.Addr()))
	if way.answer == nil {
		for _, e := range c.engines {
			e.Close()
		}
	}
	c.gateway = harness.Run(t, bytes.Replace(config, []byte(`"level":"DEBUG"`), []byte(`"level":"INFO"`), 1))
	return c
}

// checkHeap compares the heap behind some rounds with that behind the first.
func (c *failingSite) checkHeap() {
	c.t.Helper()
	c.round()
	c.settle()
	c.goroutines = runtime.NumGoroutine()
	objects, size := heap()
	for rounds := 1; ; rounds++ {
		c.round()
		c.settle()
		nowObjects, nowSize := heap()
		requests := float64(rounds * roundRequests)
		moreObjects, moreBytes := float64(nowObjects-objects)/requests, float64(nowSize-size)/requests
		if rounds >= leastRounds && moreObjects < mostObjects && moreBytes < mostBytes {
			c.t.Logf("%.0f failed requests leave %.2f objects of %.1f bytes each", requests, moreObjects, moreBytes)
			return
		}
		if rounds == mostRounds {
			c.t.Fatalf("%.0f failed requests leave %.2f objects of %.1f bytes each, want less than %.1f objects and %d bytes", requests, moreObjects, moreBytes, mostObjects, mostBytes)
		}
	}
}

// startFailing starts an engine of which only GETs succeed. It keeps nothing of its
// requests.
func startFailing(t *testing.T, way failingWay) *httptest.Server {
	t.Helper()
	e := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusNotFound) // it has no metrics and lists no models
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		way.answer(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

// round sends requests, some at a time, and waits for their ends. Half of them are
// long and the same in each round, the others are short and all different.
func (c *failingSite) round() {
	var next, whole atomic.Int64
	var workers sync.WaitGroup
	for range atATime {
		workers.Go(func() {
			for n := next.Add(1); n <= roundRequests; n = next.Add(1) {
				text := fmt.Sprint("Question ", c.sent+int(n), ".")
				if n%2 == 0 {
					text = fmt.Sprint("Document ", n%16) + strings.Repeat(" is long enough for some blocks.", 40)
				}
				if c.isWhole(harness.Chat(text, c.way.stream)) {
					whole.Add(1)
				}
			}
		})
	}
	workers.Wait()
	c.sent += roundRequests
	if n := whole.Load(); n > 0 {
		c.t.Fatalf("%d of %d requests did not fail", n, roundRequests)
	}
}

// isWhole sends a request and reports whether a whole answer came.
func (c *failingSite) isWhole(body string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), c.way.patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.gateway.URL+harness.ChatPath, strings.NewReader(body))
	if err != nil {
		return false
	}
	resp, err := c.gateway.Client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && (!c.way.stream || bytes.Contains(answer, []byte("[DONE]")))
}

// settle waits until nothing is under way, and closes all connections.
func (c *failingSite) settle() {
	c.t.Helper()
	checkNothingIsLeft(c.t)
	closed := func() bool {
		c.gateway.Client.CloseIdleConnections()
		for _, e := range c.engines {
			e.CloseClientConnections()
		}
		return c.goroutines == 0 || runtime.NumGoroutine() <= c.goroutines
	}
	if !harness.Soon(closed) {
		c.t.Errorf("%d goroutines, where there were %d before the faults", runtime.NumGoroutine(), c.goroutines)
	}
}

// heap returns the number and the size of all live objects.
func heap() (objects, size int64) {
	harness.Log.Reset()
	for range 3 { // what is pooled goes with the second, finalizers run behind it
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapObjects), int64(m.HeapAlloc)
}
