// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package volatile

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// The limits that the attack runs into.
const (
	attackTree     = 20_000_000
	attackInFlight = 64_000_000
	attackConns    = 600
	// attackLimit is GOMEMLIMIT in bytes, derived from the options as
	// docs/threat-model.md does.
	attackLimit = 64_000_000 + attackTree + attackInFlight + attackInFlight/2
	// eventsLimit is added for each publisher that is followed, up to 8.
	eventsLimit = 32_000_000
)

const attacked = `{
	admin ADMIN
	persist_config off
	auto_https off
	storage_check off
	storage_clean_interval off
	kv_aware {
		memory_limit 20MB
		volatile_only best_effort
	}
}
http://GATEWAY {
	pii_janitor {
		max_size 12MB
		in_flight_limit 64MB
		admit_wait 200ms
		read_timeout 3s
	}
	reverse_proxy ENGINE {
		lb_policy kv_aware {
			block_size 64
			tenant {http.request.header.X-Tenant}
			OPTIONS
		}
	}
}`

// TestCeilingsHoldUnderAttack is an hour of hostile load in little time: distinct
// prompts of 10,000 tenants, 10 MB bodies, senders that stall, streams that are
// abandoned. The tree, the bytes in flight and the anonymous memory of the process
// all stay under their limits.
func TestCeilingsHoldUnderAttack(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	withstand(t, assault{limit: attackLimit, answers: 100})
}

// TestCeilingsHoldUnderHostileEvents is the same attack while publishers flood the
// gateway: with small batches, with the largest that are allowed, with both in turn,
// and with a frame without end.
func TestCeilingsHoldUnderHostileEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	publisher := startFlooder(t)
	p := withstand(t, assault{
		options: publisher.option(), limit: attackLimit + floodRanks*eventsLimit, answers: 20, retained: attackInFlight / 8,
		enough: func() bool { return publisher.said.Load() > 100_000_000 },
	})
	var upstreams []struct {
		Events []struct {
			Rank            int
			Batches, Blocks uint64
		}
	}
	if err := json.Unmarshal([]byte(p.adminGet(t, "/kv_aware/upstreams")), &upstreams); err != nil || len(upstreams) != 1 || len(upstreams[0].Events) != floodRanks {
		t.Fatalf("%v, %+v", err, upstreams)
	}
	t.Logf("the publishers sent %.0f MB; the gateway applied %+v", mb(publisher.said.Load()), upstreams[0].Events)
	for _, rank := range upstreams[0].Events[:floodRanks-1] {
		if rank.Batches == 0 || rank.Blocks == 0 {
			t.Errorf("nothing of rank %d was applied: this proves nothing", rank.Rank)
		}
	}
}

// assault is an attack on a gateway.
type assault struct {
	options string // further options of the policy
	// limit is GOMEMLIMIT. Anonymous memory may exceed it by a tenth: the runtime's
	// limit is soft, and garbage that it has not collected yet comes on top.
	limit int64
	// answers is the least number of requests that are answered under attack.
	answers int64
	// retained bounds the bytes in flight afterwards: when the engine fails, prompts
	// wait for a while to be tokenized.
	retained int64
	enough   func() bool // nil or what else the attack needs to prove something
}

const (
	// An attack lasts this long, and on a slow machine until it proves something.
	attackLasts = 10 * time.Second
	attackMost  = 5 * time.Minute
)

// withstand attacks a gateway and checks the memory that it takes.
func withstand(t *testing.T, as assault) *process {
	t.Helper()
	engine := drain(t)
	config := strings.NewReplacer("ENGINE", engine.Listener.Addr().String(), "OPTIONS", as.options).Replace(attacked)
	p := launch(t, config, []string{"GOMEMLIMIT=" + strconv.FormatInt(as.limit, 10)})
	idle := anonymous(t, p.pid)
	a := &siege{p: p, address: strings.TrimPrefix(p.URL, "http://"), text: prose(10_000_000)}
	ctx, cancel := context.WithTimeout(t.Context(), attackMost)
	defer cancel()
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() { a.repeat(ctx, a.distinct) })
		all.Go(func() { a.repeat(ctx, a.huge) })
		all.Go(func() { a.repeat(ctx, a.abandon) })
	}
	all.Go(func() { a.stall(ctx, t) })
	began := time.Now()
	most := watchMemory(t, p, func(most footprint) bool {
		strong := most.evictions > 0 && most.inFlight >= attackInFlight/2 && a.refused.Load() > 0 && a.answered.Load() >= as.answers &&
			a.abandoned.Load() > 0 && a.stalled.Load() == attackConns && (as.enough == nil || as.enough())
		if ctx.Err() != nil && !strong {
			t.Error("the attack was too weak to prove anything")
		}
		return strong && time.Since(began) > attackLasts || ctx.Err() != nil
	})
	cancel()
	all.Wait()

	ceiling := as.limit + as.limit/10
	t.Logf("%d requests answered, %d refused, %d streams abandoned, %d senders stalled; anonymous memory idle %.1f MB, at most %.1f MB, limit %.0f MB",
		a.answered.Load(), a.refused.Load(), a.abandoned.Load(), a.stalled.Load(), mb(idle), mb(most.anonymous), mb(ceiling))
	t.Logf("tree at most %d of %d bytes, %d evictions; in flight at most %d of %d bytes",
		most.tree, attackTree, most.evictions, most.inFlight, attackInFlight)
	if most.anonymous > ceiling {
		t.Errorf("anonymous memory has reached %.1f MB, more than %.1f MB", mb(most.anonymous), mb(ceiling))
	}
	if most.tree > attackTree || most.inFlight > attackInFlight {
		t.Errorf("a limit was exceeded")
	}
	settled := settle(t, p, as.retained)
	t.Logf("afterwards: in flight %d bytes, anonymous memory %.1f MB", settled.inFlight, mb(settled.anonymous))
	if settled.inFlight > as.retained {
		t.Errorf("%d bytes are still counted as in flight", settled.inFlight)
	}
	if answer := p.Post(t, "/v1/chat/completions", harness.Chat("hello", false)); answer.Status != http.StatusOK {
		t.Errorf("after the attack: status %d", answer.Status)
	}
	return p
}

func mb(n int64) float64 { return float64(n) / 1e6 }

// prose returns a text without findings.
func prose(n int) string {
	words := strings.Fields("a gateway holds what it needs and nothing more so that those who come later find room when others take all they can")
	rnd := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[rnd.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()
}

// drain starts an engine that reads whole bodies and answers little. Its streams
// never end.
func drain(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := make([]byte, 64)
		n, _ := io.ReadFull(r.Body, head)
		io.Copy(io.Discard, r.Body)
		if !strings.Contains(string(head[:n]), `"stream":true`) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}]}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"yes \"}}]}\n\n")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// siege is a set of hostile clients, with counts of their results.
type siege struct {
	p       *process
	address string
	text    string

	serial                                atomic.Int64
	answered, refused, abandoned, stalled atomic.Int64
}

// body returns a request with a new prompt.
func (a *siege) body(size int, stream bool) string {
	n := a.serial.Add(1)
	return fmt.Sprintf(`{"stream":%t,"model":"m","messages":[{"role":"user","content":"%d %s"}]}`, stream, n, a.text[:size])
}

func (a *siege) repeat(ctx context.Context, f func(ctx context.Context)) {
	for ctx.Err() == nil {
		f(ctx)
	}
}

// send posts a body as one of 10,000 tenants from one of 250 addresses.
func (a *siege) send(ctx context.Context, client *http.Client, body string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.p.URL+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Tenant", fmt.Sprint("tenant-", rand.IntN(10_000)))
	return client.Do(r)
}

func (a *siege) ask(ctx context.Context, body string) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 2, byte(1+rand.IntN(250)))}}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	resp, err := a.send(ctx, &http.Client{Transport: transport}, body)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.refused.Add(1) // cut off while it was sending
	default:
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			a.answered.Add(1)
		} else {
			a.refused.Add(1)
		}
	}
}

func (a *siege) distinct(ctx context.Context) { a.ask(ctx, a.body(1000+rand.IntN(40_000), false)) }
func (a *siege) huge(ctx context.Context)     { a.ask(ctx, a.body(9_900_000, false)) }

// abandon reads a little of a stream that has no end.
func (a *siege) abandon(ctx context.Context) {
	resp, err := a.send(ctx, a.p.Client, a.body(20_000, true))
	if err != nil {
		return
	}
	if n, _ := io.ReadFull(resp.Body, make([]byte, 200)); n == 200 {
		a.abandoned.Add(1)
	}
	resp.Body.Close()
}

// stall opens many connections that each send a part of a large body.
func (a *siege) stall(ctx context.Context, t *testing.T) {
	half := a.text[:400_000]
	for i := 0; ctx.Err() == nil && i < attackConns; i++ {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 3, byte(1+i%250))}}
		conn, err := dialer.Dial("tcp", a.address)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		conn.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nX-Tenant: %d\r\nContent-Length: 9000000\r\n\r\n"+
			`{"model":"m","messages":[{"role":"user","content":"%s`, a.address, i, half)
		a.stalled.Add(1)
	}
	<-ctx.Done()
}

// footprint is the memory that the gateway takes, in bytes, and its evictions.
type footprint struct {
	anonymous, tree, inFlight, evictions int64
}

// watchMemory returns the maximum of each value, once enough accepts it.
func watchMemory(t *testing.T, p *process, enough func(most footprint) bool) (most footprint) {
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		f := look(t, p)
		most.anonymous = max(most.anonymous, f.anonymous)
		most.tree = max(most.tree, f.tree)
		most.inFlight = max(most.inFlight, f.inFlight)
		most.evictions = max(most.evictions, f.evictions)
		if enough(most) {
			tick.Stop()
			return most
		}
		<-tick.C
	}
}

func look(t *testing.T, p *process) (f footprint) {
	t.Helper()
	f.anonymous = anonymous(t, p.pid)
	var tree struct{ Bytes, Evictions int64 }
	if err := json.Unmarshal([]byte(p.adminGet(t, "/kv_aware/tree")), &tree); err != nil {
		t.Fatal(err)
	}
	f.tree, f.evictions = tree.Bytes, tree.Evictions
	in := bufio.NewScanner(strings.NewReader(p.adminGet(t, "/metrics")))
	for in.Scan() {
		if value, ok := strings.CutPrefix(in.Text(), "caddy_pii_janitor_in_flight_bytes "); ok {
			held, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			f.inFlight = int64(held)
		}
	}
	return f
}

// settle waits until at most retained bytes are in flight.
func settle(t *testing.T, p *process, retained int64) (f footprint) {
	t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; {
		p.adminGet(t, "/debug/pprof/heap?gc=1")
		if f = look(t, p); f.inFlight <= retained {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return f
}

// anonymous returns the anonymous memory of a process in bytes (proc_pid_status(5)).
func anonymous(t *testing.T, pid int) int64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "RssAnon:" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb * 1024
		}
	}
	t.Fatal("the kernel does not report anonymous memory")
	return 0
}
