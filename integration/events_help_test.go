// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/kvaware"
)

const UpstreamHost = "tcp://{http.reverse_proxy.upstream.host}:"

// portOf returns the port of host:port.
func PortOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// policySite is a gateway in front of engines whose kv_aware policy has these
// options, and which tells what it has predicted.
func PolicySite(engines []*enginesim.Engine, options string) string {
	return fmt.Sprintf(":8080 {\n%s}", PolicyRoute(engines, options))
}

func PolicyRoute(engines []*enginesim.Engine, options string) string {
	return fmt.Sprintf("pii_janitor\nheader >X-Predicted {http.kv_aware.match_tokens}\nreverse_proxy %s {\nlb_policy kv_aware {\n%s\n}\n}\n",
		Addresses(engines), options)
}

// eventsOption follows the engines' events with their history, for all ranks.
func EventsOption(e *enginesim.Engine, ranks int) string {
	return fmt.Sprintf("events %s%s {\nreplay %s%s\nranks %d\n}", UpstreamHost, PortOf(e.EventsAddr(0)), UpstreamHost, PortOf(e.ReplayAddr(0)), ranks)
}

// ask calls the admin API of this process.
func Admin(t testing.TB, method, path, body string) (int, string) {
	t.Helper()
	pattern, _, _ := strings.Cut(path, "?")
	for _, route := range (kvaware.Admin{}).Routes() {
		if route.Pattern != pattern && !(strings.HasSuffix(route.Pattern, "/") && strings.HasPrefix(pattern, route.Pattern)) {
			continue
		}
		rec := httptest.NewRecorder()
		if err := route.Handler.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body))); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return rec.Code, rec.Body.String()
	}
	t.Fatalf("no route for %s", path)
	return 0, ""
}

// toldOf is what the admin API tells of one publisher.
type PublisherReport struct {
	Rank           int
	Connected      bool
	Known          string
	Lag            *float64 `json:"lag_seconds"`
	Batches        uint64
	Events         uint64
	Gaps           uint64
	Losses         uint64
	Replays        uint64
	Restarts       uint64
	Malformed      uint64
	Blocks         uint64
	UnknownParents uint64 `json:"unknown_parents"`
	BlockTokens    int    `json:"block_tokens"`
	Failure        string
}

// reported is what the admin API tells of an upstream, as far as events go.
type UpstreamReport struct {
	Address string
	Events  []PublisherReport
	Tokens  struct {
		Waiting                  int
		Fetched, Failed, Dropped uint64
		Failure                  string
	}
}

// reportedOf returns what the admin API tells of all upstreams, by address.
func Upstreams(t testing.TB) map[string]UpstreamReport {
	t.Helper()
	var all []UpstreamReport
	_, answer := Admin(t, "GET", "/kv_aware/upstreams", "")
	if err := json.Unmarshal([]byte(answer), &all); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	of := make(map[string]UpstreamReport)
	for _, r := range all {
		of[r.Address] = r
	}
	return of
}

// told returns what the admin API tells of an engine's publishers.
func Publishers(t testing.TB, e *enginesim.Engine) []PublisherReport {
	t.Helper()
	return Upstreams(t)[e.Addr()].Events
}

// known reports whether that is what is known of all ranks of all engines.
func EventsKnown(t testing.TB, how string, engines ...*enginesim.Engine) bool {
	t.Helper()
	for _, e := range engines {
		ranks := Publishers(t, e)
		for _, r := range ranks {
			if r.Known != how || r.Connected != (how != "unknown") {
				return false
			}
		}
		if len(ranks) == 0 {
			return false
		}
	}
	return true
}

// forecast returns how much of a prompt each engine is predicted to have cached
// now, by its address. Nothing is sent.
func Forecast(t testing.TB, body string) map[string]int {
	t.Helper()
	var e struct {
		Upstreams []struct {
			Address string
			Cached  int `json:"cached_tokens"`
		}
	}
	_, answer := Admin(t, "POST", "/kv_aware/explain", body)
	if err := json.Unmarshal([]byte(answer), &e); err != nil || len(e.Upstreams) == 0 {
		t.Fatalf("%v: %s", err, answer)
	}
	cached := make(map[string]int)
	for _, u := range e.Upstreams {
		cached[u.Address] = u.Cached
	}
	return cached
}

// eventually waits for something and returns how long it took. A minute is for
// machines that are busy with something else.
func Await(t testing.TB, what string, is func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if is() {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(pause)
	}
}

// sendTo sends a request to an engine by another way than the gateway.
func SendDirect(t testing.TB, e *enginesim.Engine, path, body string) Completion {
	t.Helper()
	resp, err := http.Post(e.URL()+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v: %.300s", resp.StatusCode, err, raw)
	}
	var c Completion
	if strings.HasSuffix(path, "/completions") {
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

const ChatPath = "/v1/chat/completions"

// exactly sends a request that is to be predicted to the token, and to have at
// least so many of them cached.
func (g *Gateway) PredictExactly(t testing.TB, what, body string, atLeast int) Prediction {
	t.Helper()
	p := g.Predict(t, ChatPath, body)
	if p.Predicted != p.Reported || p.Reported < atLeast {
		_, upstreams := Admin(t, "GET", "/kv_aware/upstreams", "")
		_, tree := Admin(t, "GET", "/kv_aware/tree", "")
		t.Errorf("%s: of %d tokens %d were predicted to be cached, %d were; at least %d should be; what is known then: %s%s",
			what, p.Tokens, p.Predicted, p.Reported, atLeast, upstreams, tree)
	}
	return p
}

// relay passes connections on, and can be cut and mended: a network between
// the gateway and an engine's events.
type Relay struct {
	at, to string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]struct{}
	passing  sync.WaitGroup
}

// startRelay passes what comes to an address on to another, until the end of
// the test.
func startRelay(t testing.TB, at, to string) *Relay {
	t.Helper()
	r := &Relay{at: at, to: to, conns: make(map[net.Conn]struct{})}
	r.mend(t)
	t.Cleanup(r.cut)
	return r
}

func (r *Relay) mend(t testing.TB) {
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

// keep notes a connection, to be closed by cut. It is false when that was.
func (r *Relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener == nil {
		c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *Relay) pass(c net.Conn) {
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

// cut ends all connections, and refuses more.
func (r *Relay) cut() {
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

// portOfAll returns a port that is free on the hosts of all engines.
func CommonPort(t testing.TB, engines []*enginesim.Engine) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		port, free := PortOf(l.Addr().String()), true
		for _, e := range engines {
			if l, err := net.Listen("tcp", AtPort(e, port)); err != nil {
				free = false
			} else {
				l.Close()
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("no port is free on all hosts")
	return ""
}

// on is a port of an engine's host.
func AtPort(e *enginesim.Engine, port string) string {
	host, _, _ := net.SplitHostPort(e.Addr())
	return net.JoinHostPort(host, port)
}
