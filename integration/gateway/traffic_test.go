// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/caddyserver/caddy/v2"
)

// trafficSite tries a request again as often as the engines can fail: each of the
// two twice in each of three rounds.
const trafficSite = `:8080 {
	pii_janitor {
		in_flight_limit 64MB
	}
	reverse_proxy %s {
		lb_retries 12
		lb_retry_match {
			method POST
		}
		lb_retry_match ` + "`{rp.status_code} >= 500`" + `
		lb_policy kv_aware {
			%s
		}
	}
}`

// TestTraffic runs everything at once: conversations, whole and streamed, in
// front of engines that publish events and fail, with LMCache beside them, while
// clients leave, uploads stall, bodies are broken, configs are reloaded and the
// admin API is asked. Every well-formed request is answered, with its values
// restored. CI runs it under the race detector.
func TestTraffic(t *testing.T) {
	users, turns := 6, 12
	if testing.Short() {
		turns = 4
	}
	config := harness.QuietNode
	config.Speed, config.OutputTokens, config.Responder, config.CacheBlocks = 200, 8, enginesim.Echo, 2000
	nodes, cachePort := harness.StartPublishingNodes(t, 2, config)
	engines := harness.EnginesOf(nodes)
	// One port through all reloads.
	address := harness.FreeAddress(t)
	site := func(change string) []byte {
		options := change + "\n" + harness.EventsOption(engines[0], 1) + "\n" + harness.LMCacheOption + cachePort
		adapted := harness.Adapt(t, "caddyfile", fmt.Sprintf(trafficSite, harness.Addresses(engines), options))
		return bytes.ReplaceAll(adapted, []byte("127.0.0.1:0"), []byte(address))
	}
	g := harness.Run(t, site(""))
	// A reload closes idle connections, and a POST on one of them fails.
	g.Client.Transport.(*http.Transport).DisableKeepAlives = true
	g.Must(t, harness.Chat("hello", false))

	var group, background sync.WaitGroup
	over := make(chan struct{})
	for user := range users {
		group.Go(func() { trafficUser(t, g, user, turns) })
	}
	repeat := func(do func(round int)) {
		background.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-over:
					return
				default:
					do(round)
				}
			}
		})
	}
	repeat(func(round int) { trafficAside(g, round) })
	repeat(func(round int) { trafficAdmin(t, round) })
	group.Go(func() {
		for i := range 3 {
			if err := caddy.Load(site(fmt.Sprint("radix_depth ", 200+i)), true); err != nil {
				t.Error(err)
			}
			for _, e := range engines {
				if err := e.Fault(enginesim.Fault{Kind: enginesim.Status, Status: 503, Count: 1}, enginesim.Fault{Kind: enginesim.Reset, Skip: 2, Count: 1}); err != nil {
					t.Error(err)
				}
			}
			nodes[i%len(nodes)].Cache.EvictMemory()
		}
	})
	group.Wait()
	close(over)
	background.Wait()
}

// trafficUser holds one conversation.
func trafficUser(t *testing.T, g *harness.Gateway, user, turns int) {
	rnd := rand.New(rand.NewPCG(uint64(user), 31))
	var c harness.Conversation
	c.Begin(harness.Words(rand.New(rand.NewPCG(uint64(user%2), 32)), 4000))
	mail := fmt.Sprintf("user%d.%s", user, harness.SecretMail)
	for turn := range turns {
		stream := turn%2 == 1
		body := c.Say(mail + " " + harness.Words(rnd, 2000))
		if stream {
			body = strings.Replace(body, "{", `{"stream":true,`, 1)
		}
		resp, err := g.Client.Post(g.URL+harness.ChatPath, "application/json", strings.NewReader(body))
		for tries := 1; err != nil && tries < 5; tries++ {
			// When a reload closes the old listener, the kernel resets connections
			// that Caddy has not accepted yet.
			resp, err = g.Client.Post(g.URL+harness.ChatPath, "application/json", strings.NewReader(body))
		}
		if err != nil {
			t.Errorf("user %d, turn %d: %v", user, turn, err)
			return
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("user %d, turn %d: status %d, %v: %.300s", user, turn, resp.StatusCode, err, raw)
			return
		}
		text := harness.AnswerText(t, string(raw), stream)
		if !strings.Contains(text, mail) {
			t.Errorf("user %d, turn %d: not restored: %.100q", user, turn, text)
		}
		c.Answered(text)
	}
}

// trafficAside sends requests whose answer does not matter: an upload that breaks
// off, a stream that the client leaves, a broken body, embeddings.
func trafficAside(g *harness.Gateway, round int) {
	send := func(path, body string) {
		if resp, err := g.Client.Post(g.URL+path, "application/json", strings.NewReader(body)); err == nil {
			io.CopyN(io.Discard, resp.Body, 100)
			resp.Body.Close()
		}
	}
	switch round % 4 {
	case 0:
		if conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://")); err == nil {
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100000\r\n\r\n{\"model\":", harness.ChatPath)
			conn.Close()
		}
	case 1:
		send(harness.ChatPath, harness.Chat("A stream that the client leaves.", true))
	case 2:
		send(harness.ChatPath, `{"model":"sim","messages":[`)
	case 3:
		send("/v1/embeddings", fmt.Sprintf(`{"model":"sim","input":"text %d"}`, round))
	}
}

// trafficAdmin asks the admin API. Right after a reload it may have no answer.
func trafficAdmin(t *testing.T, round int) {
	for _, path := range []string{"/kv_aware/upstreams", "/kv_aware/tree"} {
		if status, answer, err := harness.TryAdmin(http.MethodGet, path, ""); err != nil || status != http.StatusOK {
			t.Errorf("%s: status %d, %v: %.300s", path, status, err, answer)
		}
	}
	harness.TryAdmin(http.MethodPost, "/kv_aware/explain", harness.Chat(fmt.Sprint("explain ", round), false))
}
