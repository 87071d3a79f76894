// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// A reload breaks no stream, and the index survives it: requests after the reload
// are routed by prefixes recorded before it.
func TestReloadInTheMiddleOfStreams(t *testing.T) {
	const streams = 50
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 2, OutputTokens: 120})
	site := fmt.Sprintf(":8080 {\n pii_janitor\n reverse_proxy %s {\n lb_policy kv_aware\n }\n}", harness.Addresses(engines))
	g := harness.StartGateway(t, "caddyfile", site)

	document := strings.Repeat("What the warm engine knows. ", 400)
	if answer := g.Post(t, "/v1/chat/completions", harness.Chat(document, false)); answer.Status != http.StatusOK {
		t.Fatalf("status %d", answer.Status)
	}
	blocks := harness.Metric(t, "caddy_kv_aware_tree_blocks")
	if blocks == 0 {
		t.Fatal("nothing was recorded")
	}

	var begun, ended sync.WaitGroup
	begun.Add(streams)
	failures := make(chan string, streams)
	url := g.URL
	for i := range streams {
		ended.Go(func() {
			if err := readStream(g.Client, url, harness.Chat(fmt.Sprint("stream ", i, " of ", harness.SecretMail), true), begun.Done); err != nil {
				failures <- err.Error()
			}
		})
	}
	begun.Wait() // every stream has sent its first event, and none its last
	g.Reload(t, "caddyfile", strings.Replace(site, "lb_policy", "lb_retries 1\n lb_policy", 1))
	g.Reload(t, "caddyfile", "{\n kv_aware {\n memory_limit 10MB\n }\n}\n"+site)
	ended.Wait()
	close(failures)
	for f := range failures {
		t.Error(f)
	}

	if now := harness.Metric(t, "caddy_kv_aware_tree_blocks"); now < blocks {
		t.Fatalf("%v blocks after the reload, %v before", now, blocks)
	}
	cached := engines[0].Stats().CachedTokens
	if answer := g.Post(t, "/v1/chat/completions", harness.Chat(document+"And now?", false)); answer.Status != http.StatusOK {
		t.Fatalf("status %d", answer.Status)
	}
	if engines[0].Stats().CachedTokens == cached {
		t.Fatal("after the reload the prompt went to the engine that does not hold it")
	}
}

// After a change of the hash key, no prefix recorded before is found.
func TestReloadWithAnotherHashKeyEmptiesTheTree(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 50})
	site := fmt.Sprintf(":8080 {\n pii_janitor\n reverse_proxy %s {\n lb_policy kv_aware\n }\n}", harness.Addresses(engines))
	key := func(k string) string { return "{\n kv_aware {\n hash_key " + k + "\n }\n}\n" + site }
	g := harness.StartGateway(t, "caddyfile", key("0123456789abcdef"))
	text := strings.Repeat("A prompt long enough for some blocks. ", 100)
	g.Post(t, "/v1/chat/completions", harness.Chat(text, false))
	if harness.Metric(t, "caddy_kv_aware_tree_blocks") == 0 {
		t.Fatal("nothing was recorded")
	}
	g.Reload(t, "caddyfile", key("0123456789abcdef"))
	if harness.Metric(t, "caddy_kv_aware_tree_blocks") == 0 {
		t.Fatal("a reload with the same key emptied the tree")
	}
	harness.Log.Reset()
	g.Reload(t, "caddyfile", key("fedcba9876543210"))
	if n := harness.Metric(t, "caddy_kv_aware_tree_blocks"); n != 0 {
		t.Fatalf("%v blocks under a new key", n)
	}
	if !strings.Contains(harness.Log.String(), "hash_key has changed") {
		t.Fatal("the log does not say that the tree was emptied")
	}
}

// readStream reads one streamed answer to its end, and calls first at its first
// event, or at its end.
func readStream(client *http.Client, url, body string, first func()) error {
	var once sync.Once
	defer once.Do(first)
	resp, err := client.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		once.Do(first)
		if in.Text() == "data: [DONE]" {
			return nil
		}
	}
	return fmt.Errorf("a stream ended early: %v", in.Err())
}
