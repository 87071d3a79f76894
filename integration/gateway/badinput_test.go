// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// Bad requests get a clear answer in the API's shape, always with the same text,
// and never reach an engine.
func TestBadRequests(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 50})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(":8080 {\n pii_janitor {\n max_size 1MB\n }\n reverse_proxy %s {\n lb_policy kv_aware\n }\n}", harness.Addresses(engines)))
	for _, c := range []struct {
		name, path, body string
		status           int
	}{
		{"broken JSON", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"x"`, 400},
		{"not an object", "/v1/chat/completions", `[1,2]`, 400},
		{"messages of a wrong type", "/v1/chat/completions", `{"model":"m","messages":3}`, 400},
		{"no messages", "/v1/chat/completions", `{"model":"m"}`, 400},
		{"duplicate keys", "/v1/completions", `{"prompt":"a","prompt":"b"}`, 400},
		{"too large", "/v1/chat/completions", harness.Chat(strings.Repeat("z", 1_000_001), false), 413},
		{"token ids", "/v1/completions", `{"model":"m","prompt":[1,2,3]}`, 400},
		{"not JSON", "/v1/chat/completions", "hello", 400},
		{"not JSON, unknown path", "/upload", "hello", 415},
		{"anthropic", "/v1/messages", `{"model":"m","messages":3}`, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := g.Post(t, c.path, c.body)
			if answer.Status != c.status {
				t.Fatalf("status %d, want %d: %s", answer.Status, c.status, answer.Body)
			}
			var e struct {
				Type  string
				Error struct{ Message, Type string }
			}
			if err := json.Unmarshal([]byte(answer.Body), &e); err != nil || e.Error.Message == "" || e.Error.Type == "" {
				t.Fatalf("not an error of the API's shape: %s", answer.Body)
			}
			if anthropic := e.Type == "error"; anthropic != (c.path == "/v1/messages") {
				t.Fatalf("the shape of another API: %s", answer.Body)
			}
			if again := g.Post(t, c.path, c.body); again.Body != answer.Body {
				t.Fatalf("the text is not fixed:\n%s\n%s", answer.Body, again.Body)
			}
		})
	}
	if n := engines[0].Stats().Requests; n != 0 {
		t.Fatalf("%d bad requests reached the engine", n)
	}
}

// A client that sends its whole body before it reads still sees why the request
// was refused, whatever stands in front of the janitor, and the connection ends
// without an error.
func TestRefusedWhileSending(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 50})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(":8080 {\n encode\n log\n pii_janitor {\n max_size 1MB\n }\n reverse_proxy %s {\n lb_policy kv_aware\n }\n}", harness.Addresses(engines)))
	body := harness.Chat(strings.Repeat("z", 1_500_000), false)
	for _, header := range []string{"", "Connection: close\r\n", "Accept-Encoding: gzip\r\n", "Content-Encoding: odd\r\n"} {
		for _, length := range []string{fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			conn.(*net.TCPConn).SetWriteBuffer(128 << 10) // so that little is buffered
			if _, err := io.WriteString(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n"+header+length); err != nil {
				t.Errorf("%q, %.20q: sending: %v", header, length, err)
				continue
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("%q, %.20q: reading the answer: %v", header, length, err)
				continue
			}
			_, err = io.Copy(io.Discard, resp.Body)
			want := http.StatusRequestEntityTooLarge
			if strings.Contains(header, "odd") && strings.HasPrefix(length, "Transfer") { // else the size is checked first
				want = http.StatusUnsupportedMediaType
			}
			if err != nil || resp.StatusCode != want || !resp.Close {
				t.Errorf("%q, %.20q: status %d, close %t, %v", header, length, resp.StatusCode, resp.Close, err)
			}
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%q, %.20q: the connection ended with %v", header, length, err)
			}
		}
	}
}

// Without a janitor the policy refuses prompts, and the error names the remedies.
func TestUnscrubbed(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 50})
	site := ":8080 {\n reverse_proxy %s {\n lb_policy kv_aware {\n unscrubbed %s\n }\n }\n}"
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(site, harness.Addresses(engines), "refuse"))
	answer := g.Post(t, "/v1/chat/completions", harness.Chat("hello", false))
	if answer.Status != http.StatusServiceUnavailable {
		t.Fatalf("status %d", answer.Status)
	}
	for _, want := range []string{"pii_janitor", "ahead of reverse_proxy", "unscrubbed fallback"} {
		if !strings.Contains(answer.Body, want) {
			t.Errorf("the error does not say %q: %s", want, answer.Body)
		}
	}
	if n := engines[0].Stats().Requests; n != 0 {
		t.Fatal("the unscrubbed prompt reached the engine")
	}
	if got := g.Get(t, "/v1/models"); got.Status != http.StatusOK {
		t.Fatalf("a request without a body: status %d", got.Status)
	}
	g.Reload(t, "caddyfile", fmt.Sprintf(site, harness.Addresses(engines), "fallback"))
	if answer := g.Post(t, "/v1/chat/completions", harness.Chat("hello", false)); answer.Status != http.StatusOK {
		t.Fatalf("unscrubbed fallback: status %d", answer.Status)
	}
	if harness.Metric(t, "caddy_kv_aware_tree_blocks") != 0 {
		t.Fatal("an unscrubbed prompt was hashed")
	}
}
