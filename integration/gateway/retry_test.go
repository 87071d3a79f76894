// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// retryProxy is a site with retries. Only the janitor buffers the request.
const retryProxy = `:8080 {
	pii_janitor
	reverse_proxy %s {
		lb_policy kv_aware
		lb_retries 2
		%s
	}
}`

// wantWholeAndScrubbed checks that the engine that answered received the whole
// scrubbed body. On its own, Caddy retries with an empty one.
func wantWholeAndScrubbed(t *testing.T, e *enginesim.Engine, question string) {
	t.Helper()
	received := e.Received()
	if len(received) != 1 {
		t.Fatalf("the second upstream got %d requests, want 1", len(received))
	}
	body := string(received[0].Body)
	if strings.Contains(body, harness.SecretMail) {
		t.Fatal("the address reached the second upstream unscrubbed")
	}
	want := harness.Chat(strings.ReplaceAll(question, harness.SecretMail, "[EMAIL_1]"), false)
	if body != want {
		t.Fatalf("the second upstream got %d bytes, want the %d of the whole scrubbed request", len(body), len(want))
	}
}

// testRetry makes the first attempt fail and expects the request to reach the
// other engine, whole and scrubbed.
func testRetry(t *testing.T, options string, fail func(e *enginesim.Engine) error) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Record: 8, Speed: 50})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(retryProxy, harness.Addresses(engines), options))
	// Of equal engines the first is picked.
	if err := fail(engines[0]); err != nil {
		t.Fatal(err)
	}
	question := "Write to " + harness.SecretMail + ". " + strings.Repeat("The quick brown fox jumps over the lazy dog. ", 4000)
	answer := g.Post(t, "/v1/chat/completions", harness.Chat(question, false))
	if answer.Status != http.StatusOK {
		t.Fatalf("status %d, body %.200s", answer.Status, answer.Body)
	}
	wantWholeAndScrubbed(t, engines[1], question)

	// The record of the failed attempt is gone; that of the second upstream stays.
	if err := engines[0].Heal(); err != nil {
		t.Fatal(err)
	}
	before := engines[1].Stats().CachedTokens
	again := g.Post(t, "/v1/chat/completions", harness.Chat(question, false))
	if again.Status != http.StatusOK {
		t.Fatalf("second time: status %d", again.Status)
	}
	if engines[1].Stats().CachedTokens == before {
		t.Fatal("the prompt was not routed to the upstream that holds it")
	}
}

func TestRetryAfterRefusedConnection(t *testing.T) {
	testRetry(t, "", func(e *enginesim.Engine) error { return e.Fault(enginesim.Fault{Kind: enginesim.Refuse}) })
}

func TestRetryAfter503(t *testing.T) {
	testRetry(t, "lb_retry_match `{rp.status_code} == 503`", func(e *enginesim.Engine) error {
		return e.Fault(enginesim.Fault{Kind: enginesim.Status, Status: http.StatusServiceUnavailable, Count: 1})
	})
}

func TestRetryAfterResetBehindTheBody(t *testing.T) {
	testRetry(t, "lb_retry_match {\n method POST\n }", func(e *enginesim.Engine) error {
		return e.Fault(enginesim.Fault{Kind: enginesim.Reset, Count: 1})
	})
}

// With every upstream down, Caddy's status stands, with an error object of the API,
// and nothing is left reserved.
func TestEveryUpstreamDown(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 50})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(retryProxy, harness.Addresses(engines), ""))
	for _, e := range engines {
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Refuse}); err != nil {
			t.Fatal(err)
		}
	}
	answer := g.Post(t, "/v1/chat/completions", harness.Chat("hello", false))
	const want = `{"error":{"message":"no engine could answer (status 502)","type":"server_error","param":null,"code":"no_answer"}}`
	if answer.Status != http.StatusBadGateway || strings.TrimSpace(answer.Body) != want {
		t.Fatalf("status %d, %s", answer.Status, answer.Body)
	}
	for _, e := range engines {
		if err := e.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	if answer := g.Post(t, "/v1/chat/completions", harness.Chat("hello", false)); answer.Status != http.StatusOK {
		t.Fatalf("after the engines are back: status %d", answer.Status)
	}
}

// An upstream that Caddy considers unhealthy is not picked, however much of the
// prompt it holds.
func TestUnhealthyUpstreamIsNotPicked(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 50})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(retryProxy, harness.Addresses(engines), "fail_duration 1h"))
	text := strings.Repeat("A document that only the first engine holds. ", 500)
	for range 2 {
		if answer := g.Post(t, "/v1/chat/completions", harness.Chat(text, false)); answer.Status != http.StatusOK {
			t.Fatalf("status %d", answer.Status)
		}
	}
	if n := engines[0].Stats().Requests; n != 2 {
		t.Fatalf("the first engine got %d of 2 requests", n)
	}
	if err := engines[0].Fault(enginesim.Fault{Kind: enginesim.Refuse}); err != nil {
		t.Fatal(err)
	}
	g.Post(t, "/v1/chat/completions", harness.Chat(text, false)) // fails at the first engine and goes to the other
	if err := engines[0].Heal(); err != nil {
		t.Fatal(err)
	}
	g.Post(t, "/v1/chat/completions", harness.Chat(text, false))
	if n := engines[0].Stats().Requests; n != 2 {
		t.Fatal("an upstream within its fail_duration was picked for its cache")
	}
}

// llama.cpp announces keep-alive and closes the connection after a streamed
// answer. Go keeps the connection, and does not repeat a POST on a dead one: stock
// Caddy answers 502 then.
func TestEngineThatClosesKeptConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var served atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answerOnce(conn, &served)
		}
	}()
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(":8080 {\n pii_janitor\n reverse_proxy %s {\n lb_policy kv_aware {\n metrics off\n }\n }\n}", listener.Addr()))
	for i := range 20 {
		if answer := g.Post(t, "/v1/chat/completions", harness.Chat(fmt.Sprint("question ", i), false)); answer.Status != http.StatusOK {
			t.Fatalf("request %d: status %d", i, answer.Status)
		}
	}
	if n := served.Load(); n != 20 {
		t.Fatalf("%d answers for 20 requests", n)
	}
}

// answerOnce serves one request, announces keep-alive, and closes the connection
// when the second request arrives.
func answerOnce(conn net.Conn, served *atomic.Int64) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	served.Add(1)
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}")
	if r, err = http.ReadRequest(in); err == nil {
		io.Copy(io.Discard, r.Body)
	}
}
