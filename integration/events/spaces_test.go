// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// request returns a chat request with one message and these further members.
func request(text string, more map[string]any) string {
	body := map[string]any{"model": "base", "messages": []map[string]string{{"role": "user", "content": text}}}
	maps.Copy(body, more)
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// The same text has blocks of its own under another salt, for another adapter, and
// where it is rendered differently. It is not predicted to be cached before it is,
// and then to the token.
func TestEventsOfOtherSpaces(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200, Models: []string{"base", "adapter-a", "adapter-b"}})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	text := harness.Words(rand.New(rand.NewPCG(1, 14)), 6000)
	for _, c := range []struct {
		name string
		more map[string]any
	}{
		{name: "plain"},
		{name: "an adapter", more: map[string]any{"model": "adapter-a"}},
		{name: "another adapter", more: map[string]any{"model": "adapter-b"}},
		{name: "a salt", more: map[string]any{"cache_salt": "one"}},
		{name: "another salt", more: map[string]any{"cache_salt": "two"}},
		{name: "an adapter and a salt", more: map[string]any{"cache_salt": "one", "model": "adapter-a"}},
		{name: "a template", more: map[string]any{"chat_template": "another"}},
		{name: "the template's variables", more: map[string]any{"chat_template_kwargs": map[string]any{"prefix": "something in front"}}},
		{name: "tools", more: map[string]any{"tools": []any{map[string]any{"type": "function", "function": map[string]any{"name": "f"}}}}},
	} {
		body := request(text, c.more)
		if p := g.PredictExactly(t, c.name+", new", body, 0); p.Reported > 0 {
			t.Fatalf("%s: %d tokens are cached: this proves nothing", c.name, p.Reported)
		}
		harness.AwaitQuiet(t, engines)
		if c.more["model"] != nil {
			// The first event told that this model is an adapter.
			g.Predict(t, harness.ChatPath, body)
			harness.AwaitQuiet(t, engines)
		}
		g.PredictExactly(t, c.name+", again", body, 1400)
	}
	for name, more := range map[string]map[string]any{
		"no answer begun": {"add_generation_prompt": false},
		"no thinking":     {"chat_template_kwargs": map[string]any{"enable_thinking": false}},
	} {
		body := request(text, more)
		p := g.Predict(t, harness.ChatPath, body)
		if p.Predicted > p.Reported {
			t.Errorf("%s, new: %d tokens were predicted to be cached, %d were", name, p.Predicted, p.Reported)
		}
		harness.AwaitQuiet(t, engines)
		g.PredictExactly(t, name+", again", body, 1400)
	}
}

// Tenants with a salt each share no blocks, and the prompt of one is not predicted
// to be cached for another.
func TestEventsOfTenants(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, "tenant {http.request.header.X-User}\ncache_salt on\n"+harness.EventsOption(engines[0], 1)))
	prompt := harness.Chat(harness.Words(rand.New(rand.NewPCG(1, 15)), 6000), false)
	as := func(user string) harness.Prediction {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, g.URL+harness.ChatPath, strings.NewReader(prompt))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-User", user)
		return harness.ReadPrediction(t, g.Do(t, r))
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		if p := as(user); p.Predicted != 0 || p.Reported != 0 {
			t.Errorf("%s, new: %+v", user, p)
		}
		harness.AwaitQuiet(t, engines)
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		if p := as(user); p.Predicted != p.Reported || p.Reported < 1400 {
			t.Errorf("%s, again: %+v", user, p)
		}
	}
	// The same prompt without a salt, sent past the gateway.
	for _, e := range engines {
		harness.SendDirect(t, e, "/reset_prefix_cache", "")
		harness.SendDirect(t, e, harness.ChatPath, prompt)
	}
	harness.AwaitQuiet(t, engines)
	if p := as("alice"); p.Predicted != 0 || p.Reported != 0 {
		t.Errorf("the prompt without a salt: %+v", p)
	}
}

// A chat template with the date in it has other tokens tomorrow. The first request
// of that day is predicted wrongly, and those after it are right.
func TestEventsOfATemplateWithADate(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200})
	for _, e := range engines {
		e.SetTemplateDate("22 Nov 2026")
	}
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(1, 16))
	system := harness.Words(rnd, 6000)
	ask := func() harness.Prediction {
		t.Helper()
		var c harness.Conversation
		c.Begin(system)
		p := g.Predict(t, harness.ChatPath, c.Say(harness.Words(rnd, 400)))
		harness.AwaitQuiet(t, engines)
		return p
	}
	ask()
	if p := ask(); p.Predicted != p.Reported && p.Reported-p.Predicted > 16 || p.Reported < 1400 {
		t.Errorf("today: %+v", p)
	}
	for _, e := range engines {
		e.SetTemplateDate("23 November 2026")
	}
	epochs := epochsOf(t)
	ask() // shows the change, and is the next one's prefix
	if now := epochsOf(t); now != epochs+1 {
		t.Errorf("new tokens ended %d epochs, want 1", now-epochs)
	}
	for range 3 {
		p := ask()
		if p.Predicted > p.Reported || p.Reported-p.Predicted > 16 || p.Reported < 1400 {
			t.Errorf("tomorrow: of %d tokens %d are predicted, %d are cached", p.Tokens, p.Predicted, p.Reported)
		}
	}
}

func epochsOf(t *testing.T) (n int) {
	t.Helper()
	var tree struct{ Epochs int }
	_, answer := harness.Admin(t, "GET", "/kv_aware/tree", "")
	if err := json.Unmarshal([]byte(answer), &tree); err != nil {
		t.Fatal(err)
	}
	return tree.Epochs
}

// A prompt with an image is predicted up to the image. Text behind another image is
// another prefix.
func TestEventsOfImages(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200, ScaleOut: true})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(1, 17))
	before, behind := harness.Words(rnd, 6000), harness.Words(rnd, 6000)
	with := func(image string) string {
		return fmt.Sprintf(`{"model":"sim","messages":[{"role":"user","content":[{"type":"text","text":%q},{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}},{"type":"text","text":%q}]}]}`,
			before, strings.Repeat(image, 200), behind)
	}
	g.Predict(t, harness.ChatPath, with("AAAA"))
	harness.AwaitQuiet(t, engines)
	for _, image := range []string{"BBBB", "CCCC"} {
		p := g.Predict(t, harness.ChatPath, with(image))
		if p.Reported < 1400 || p.Reported > 1600 {
			t.Fatalf("%d tokens are cached with another image: this proves nothing", p.Reported)
		}
		if p.Predicted > p.Reported || p.Predicted < 1300 {
			t.Errorf("with another image %d tokens are predicted, %d are cached", p.Predicted, p.Reported)
		}
		harness.AwaitQuiet(t, engines)
	}
	if p := g.Predict(t, harness.ChatPath, with("AAAA")); p.Predicted > p.Reported || p.Predicted < 1300 {
		t.Errorf("the first image again: %d tokens are predicted, %d are cached", p.Predicted, p.Reported)
	}
	// From events alone, for a prompt that did not come through the gateway.
	for _, e := range engines {
		harness.SendDirect(t, e, "/reset_prefix_cache", "")
		harness.SendDirect(t, e, harness.ChatPath, with("DDDD"))
	}
	harness.AwaitQuiet(t, engines)
	if p := g.Predict(t, harness.ChatPath, with("EEEE")); p.Predicted > p.Reported || p.Predicted < 1300 {
		t.Errorf("from events alone: %d tokens are predicted, %d are cached", p.Predicted, p.Reported)
	}
}
