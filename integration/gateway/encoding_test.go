// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// decoded returns an answer's body as the client would show it.
func decoded(t *testing.T, r harness.Reply) string {
	t.Helper()
	var in io.Reader = strings.NewReader(r.Body)
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "":
		return r.Body
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		in = z
	case "zstd":
		z, err := zstd.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		in = z
	default:
		t.Fatalf("unexpected encoding %q", encoding)
	}
	body, err := io.ReadAll(in)
	if err != nil {
		t.Fatalf("decoding the answer: %v", err)
	}
	return string(body)
}

// Restoring and usage work wherever `encode` stands, and when an engine
// compresses without being asked to.
func TestRestoringBesideCompression(t *testing.T) {
	question := "Please answer " + harness.SecretMail + " in a friendly way. " + strings.Repeat("More words make it worth compressing. ", 100)
	for _, c := range []struct {
		name, site string
		gzipEngine bool
		wantCoding bool
	}{
		{"encode around", ":8080 {\n encode zstd gzip\n pii_janitor\n reverse_proxy %s {\n lb_policy kv_aware\n }\n}", false, true},
		{"encode inside", ":8080 {\n pii_janitor\n handle /v1/* {\n encode zstd gzip\n reverse_proxy %s {\n lb_policy kv_aware\n }\n }\n}", false, false},
		{"engine gzips", ":8080 {\n pii_janitor\n reverse_proxy %s {\n lb_policy kv_aware\n transport http {\n compression off\n }\n }\n}", true, false},
		{"engine gzips, encode around", ":8080 {\n encode gzip\n pii_janitor\n reverse_proxy %s {\n lb_policy kv_aware\n }\n}", true, true},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stream %v", c.name, stream), func(t *testing.T) {
				engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 50, Record: 4, Responder: enginesim.Echo, ChunkSizes: []int{3, 1, 7}})
				if c.gzipEngine {
					if err := engines[0].Fault(enginesim.Fault{Kind: enginesim.Gzip}); err != nil {
						t.Fatal(err)
					}
				}
				g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(c.site, harness.Addresses(engines)))
				before := harness.Metric(t, "caddy_kv_aware_reported_cached_tokens_total") + harness.Metric(t, "caddy_kv_aware_usage_missing_total")
				var text string
				for range 2 {
					request := harness.Chat(question, stream)
					if stream {
						request = strings.Replace(request, `"stream"`, `"stream_options":{"include_usage":true},"stream"`, 1)
					}
					answer := g.Post(t, "/v1/chat/completions", request, "Accept-Encoding", "zstd, gzip")
					if answer.Status != http.StatusOK {
						t.Fatalf("status %d: %.200s", answer.Status, answer.Body)
					}
					if got := answer.Header.Get("Content-Encoding") != ""; got != c.wantCoding {
						t.Fatalf("answer compressed: %v, want %v", got, c.wantCoding)
					}
					text = harness.AnswerText(t, decoded(t, answer), stream)
				}
				if !strings.Contains(text, harness.SecretMail) || strings.Contains(text, "[EMAIL_1]") {
					t.Fatalf("the address was not restored in %.200q", text)
				}
				if strings.Contains(string(engines[0].Received()[0].Body), harness.SecretMail) {
					t.Fatal("the engine got the address")
				}
				if missing := harness.Metric(t, "caddy_kv_aware_usage_missing_total"); missing != 0 {
					t.Fatalf("%v answers without usage", missing)
				}
				if reported := harness.Metric(t, "caddy_kv_aware_reported_cached_tokens_total"); reported <= before {
					t.Fatal("no cached tokens were read from the answers")
				}
			})
		}
	}
}

// A janitor at the site level runs ahead of every handle block, and recognizes
// the API under any path prefix.
func TestInsideHandlePath(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 50, Record: 4, Responder: enginesim.Echo})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(`:8080 {
		pii_janitor
		handle_path /llama/* {
			reverse_proxy %s {
				lb_policy kv_aware
			}
		}
	}`, harness.Addresses(engines)))
	answer := g.Post(t, "/llama/v1/chat/completions", harness.Chat("I am "+harness.SecretMail, false))
	if answer.Status != http.StatusOK || !strings.Contains(answer.Body, harness.SecretMail) {
		t.Fatalf("status %d, not restored: %.300s", answer.Status, answer.Body)
	}
	received := engines[0].Received()
	if len(received) != 1 || received[0].Path != "/v1/chat/completions" {
		t.Fatalf("the engine got %+v", received)
	}
	if strings.Contains(string(received[0].Body), harness.SecretMail) {
		t.Fatal("inside handle_path the prompt was not scrubbed")
	}
}
