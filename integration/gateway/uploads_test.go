// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// Clients that stall in the middle of large uploads do not lock others out.
func TestStalledUploadsLockNobodyOut(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 50})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(":8080 {\n pii_janitor\n reverse_proxy %s {\n lb_policy kv_aware\n }\n}", harness.Addresses(engines)))
	stallUploads(t, g, 50, 10_000_000)
	for i := range 20 {
		if answer := g.Post(t, "/v1/chat/completions", harness.Chat(fmt.Sprint("hello ", i), false)); answer.Status != http.StatusOK {
			t.Fatalf("request %d beside 50 stalled uploads: status %d, %.200s", i, answer.Status, answer.Body)
		}
	}
	if held := harness.Metric(t, "caddy_pii_janitor_in_flight_bytes"); held < 1 {
		t.Fatal("the stalled uploads are not counted")
	}
}

// stallUploads begins n uploads of that size and stops in the middle of them,
// until the end of the test. On a slow machine the gateway drops some of them in
// favor of others before they have come that far.
func stallUploads(t *testing.T, g *harness.Gateway, n, size int) {
	t.Helper()
	half := []byte(`{"model":"sim","messages":[{"role":"user","content":"` + strings.Repeat("x", size/2))
	stalled := 0
	for range n {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size)
		if _, err := conn.Write(half); err == nil {
			stalled++
		}
	}
	if stalled < n/2 {
		t.Fatalf("only %d of %d uploads reached their middle", stalled, n)
	}
}

// Above in_flight_limit a request waits for admit_wait, then gets 507 and
// Retry-After. Nothing is forwarded, and later requests are served again.
func TestInFlightLimit(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{CacheBlocks: 1 << 16, MaxModelLen: 1 << 20, PrefillRate: 1e7})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(`:8080 {
		pii_janitor {
			max_size 2MB
			in_flight_limit 8MB
			admit_wait 50ms
			read_timeout 10m
		}
		reverse_proxy %s {
			lb_policy kv_aware
		}
	}`, harness.Addresses(engines)))
	// One client may hold its share at the most; several fill the ceiling.
	big := harness.Chat(strings.Repeat("y", 1_900_000), false)
	var held []*io.PipeWriter
	answers := make(chan int, 8)
	for range 8 {
		r, w := io.Pipe()
		held = append(held, w)
		go func() {
			status := 0
			if resp, err := g.Client.Post(g.URL+"/v1/chat/completions", "application/json", r); err == nil {
				resp.Body.Close()
				status = resp.StatusCode
			}
			answers <- status
		}()
		go w.Write([]byte(big[:1_500_000])) // then the upload stalls
	}
	// Eight times 1.5 MB do not fit in the half of 8 MB that one client may take: most are refused while they arrive,
	// and each of these clients reads the answer.
	for range 4 {
		if status := <-answers; status != http.StatusInsufficientStorage {
			t.Fatalf("an upload above the ceiling: status %d, want 507", status)
		}
	}
	for _, w := range held {
		w.CloseWithError(io.ErrUnexpectedEOF)
	}
	for range 4 {
		<-answers
	}
	// All uploads are gone. There is room again as soon as the gateway has noticed.
	answer := g.Post(t, "/v1/chat/completions", big)
	for tries := 0; answer.Status == http.StatusInsufficientStorage && tries < 100; tries++ {
		if answer.Header.Get("Retry-After") == "" || !strings.Contains(answer.Body, `"error"`) {
			t.Fatalf("the refusal lacks Retry-After or the API's error shape: %v %s", answer.Header, answer.Body)
		}
		answer = g.Post(t, "/v1/chat/completions", big) // waits for up to admit_wait
	}
	if answer.Status != http.StatusOK {
		t.Fatalf("after the uploads are gone: status %d, %.200s", answer.Status, answer.Body)
	}
	if n := engines[0].Stats().Requests; n != 1 {
		t.Fatalf("%d requests reached the engine, want the last one only", n)
	}
}

// At full size: 50 uploads of 10 MB that stall in the middle, and 200 requests
// of 4 MB at once, which are more than the ceiling of 512 MB. Each request is
// served, at once or after some answers 507, and arrives whole. No timeout of the
// gateway may end one early, so all are long: on a busy machine dialing takes
// more than Caddy's three seconds, and a body more than read_timeout.
func TestManyLargeRequestsBesideStalledUploads(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	if harness.UnderRace {
		t.Skip("gigabytes of bodies: memory is compared without the race detector")
	}
	var whole atomic.Int64
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err == nil && n > 4_000_000 {
			whole.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"choices":[]}`)
	}))
	defer engine.Close()
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(`:8080 {
		pii_janitor {
			read_timeout 1h
		}
		reverse_proxy %s {
			lb_policy kv_aware {
				metrics off
			}
			transport http {
				dial_timeout 1h
			}
		}
	}`, engine.Listener.Addr()))
	g.Client.Timeout = 0
	stallUploads(t, g, 50, 10_000_000)
	body := harness.Chat(strings.Repeat("All work and no play makes a dull gateway. ", 4_000_000/43+1), false)
	var wg sync.WaitGroup
	var refusals atomic.Int64
	for range 200 {
		wg.Go(func() {
			for range 300 {
				resp, err := g.Client.Post(g.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
				if err != nil {
					continue // so slow a client that the gateway stopped waiting for the rest
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return
				}
				if resp.StatusCode != http.StatusInsufficientStorage || resp.Header.Get("Retry-After") == "" {
					t.Errorf("status %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
					return
				}
				refusals.Add(1)
			}
			t.Error("a request was never let through")
		})
	}
	wg.Wait()
	if n := whole.Load(); n != 200 {
		t.Fatalf("%d of 200 requests arrived whole", n)
	}
	t.Logf("200 requests of 4 MB beside 50 stalled uploads: %d were told to come again", refusals.Load())
}
