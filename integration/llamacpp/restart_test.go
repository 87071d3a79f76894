// SPDX-License-Identifier: Apache-2.0

package llamacpp

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/counterparts"
	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// When a server dies, the conversation goes on at the other one. When it is back, it
// is known to hold nothing.
func TestRestart(t *testing.T) {
	servers := counterparts.StartLlamaCPP(t, 2)
	g := startGateway(t, servers, "kv_aware")
	rnd := rand.New(rand.NewPCG(6, 6))
	c := newConversation(rnd, "a tenant")
	for range 2 {
		c.answered(t, g.Post(t, harness.ChatPath, c.ask(rnd)).Body)
	}
	next := c.ask(rnd)
	home, other := servers[0], servers[1]
	if harness.Forecast(t, next)[home.Address] == 0 {
		home, other = other, home
	}
	harness.AwaitMetricsReadAt(t, home.Address) // with the requests in them: a restart shows where a counter falls

	home.Kill()
	if p := harness.ReadPrediction(t, g.Post(t, harness.ChatPath, next)); p.Reported != 0 {
		t.Errorf("%d tokens are cached at a server that has never had them", p.Reported)
	}
	home.Start(t)
	harness.Await(t, "the gateway knows that the server is empty", func() bool {
		return harness.Forecast(t, next)[home.Address] == 0
	})
	if harness.Forecast(t, next)[other.Address] == 0 {
		t.Error("the other server is not known to hold the conversation")
	}
}

// A client that leaves a stream frees llama.cpp's slot.
func TestClientLeaves(t *testing.T) {
	servers := counterparts.StartLlamaCPP(t, 1)
	g := startGateway(t, servers, "kv_aware")
	body := encode(map[string]any{"model": counterparts.Model, "stream": true, "max_tokens": 7000, "messages": []message{{"user", "Go on."}}})
	resp, err := g.Client.Post(g.URL+harness.ChatPath, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if n := servers[0].Metric(t, "llamacpp:requests_processing"); n != 1 {
		t.Fatalf("llama.cpp serves %.0f requests", n)
	}
	resp.Body.Close()
	harness.Await(t, "the slot is free", func() bool { return servers[0].Metric(t, "llamacpp:requests_processing") == 0 })
	if n := servers[0].Metric(t, "llamacpp:tokens_predicted_total"); n > 6900 {
		t.Errorf("llama.cpp has generated all %.0f tokens", n)
	}
	g.Must(t, harness.Ask(counterparts.Model, "Still there?", false, 4))
}
