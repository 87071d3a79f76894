// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// renderedAPI is an API whose prompts only render endpoints turn into tokens.
type renderedAPI struct {
	name, path string
	// request returns the body for a conversation: the user's and the assistant's
	// texts in turn.
	request func(texts []string) map[string]any
}

var renderedAPIs = []renderedAPI{
	{"messages", "/v1/messages", func(texts []string) map[string]any {
		return map[string]any{
			"model": "sim", "max_tokens": 16, "messages": turns(texts, "text", "text"),
			"system": "You answer from the documents. " + strings.Repeat("Be brief and exact. ", 30),
			"tools":  []any{map[string]any{"name": "look", "description": "Looks a word up.", "input_schema": map[string]any{"type": "object"}}},
		}
	}},
	{"responses", "/v1/responses", func(texts []string) map[string]any {
		return map[string]any{
			"model": "sim", "max_output_tokens": 16, "input": turns(texts, "input_text", "output_text"),
			"instructions": "You answer from the documents. " + strings.Repeat("Be brief and exact. ", 30),
			"tools":        []any{map[string]any{"type": "function", "name": "look", "parameters": map[string]any{"type": "object"}}},
		}
	}},
}

// turns returns the messages of a conversation.
func turns(texts []string, user, assistant string) (all []any) {
	for i, text := range texts {
		role, kind := "user", user
		if i%2 == 1 {
			role, kind = "assistant", assistant
		}
		all = append(all, map[string]any{"role": role, "content": []any{map[string]string{"type": kind, "text": text}}})
	}
	return all
}

// apiAnswer is an answer of either API, as far as the tests read it.
type apiAnswer struct {
	Content []struct{ Text string }
	Output  []struct{ Content []struct{ Text string } }
	Usage   struct {
		Input   int `json:"input_tokens"`
		Details struct {
			Cached int `json:"cached_tokens"`
		} `json:"input_tokens_details"`
		Read int `json:"cache_read_input_tokens"`
	}
}

// predict sends a request and returns its prediction.
func (a *renderedAPI) predict(t *testing.T, g *harness.Gateway, texts []string) harness.Prediction {
	t.Helper()
	body, err := json.Marshal(a.request(texts))
	if err != nil {
		t.Fatal(err)
	}
	reply := g.Post(t, a.path, string(body))
	var answer apiAnswer
	if reply.Status != http.StatusOK || json.Unmarshal([]byte(reply.Body), &answer) != nil {
		t.Fatalf("status %d: %.300s", reply.Status, reply.Body)
	}
	predicted, err := strconv.Atoi(reply.Header.Get("X-Predicted"))
	if err != nil {
		t.Fatal(err)
	}
	p := harness.Prediction{Tokens: answer.Usage.Input + answer.Usage.Read, Predicted: predicted, Reported: answer.Usage.Details.Cached + answer.Usage.Read}
	for _, c := range answer.Content {
		p.Answer += c.Text
	}
	for _, o := range answer.Output {
		for _, c := range o.Content {
			p.Answer += c.Text
		}
	}
	return p
}

// TestEventsOfRenderedAPIs: with Anthropic's messages and OpenAI's responses, the next
// turns of a conversation are predicted to the token, answers included, and a prompt
// that another client has sent too.
func TestEventsOfRenderedAPIs(t *testing.T) {
	for _, api := range renderedAPIs {
		t.Run(api.name, func(t *testing.T) {
			engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 100, CacheBlocks: 4000, ScaleOut: true})
			g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
			rnd := rand.New(rand.NewPCG(5, 14))
			var texts []string
			for turn := range 5 {
				texts = append(texts, harness.Words(rnd, 3000))
				p := api.predict(t, g, texts)
				if p.Predicted != p.Reported || turn > 0 && p.Reported < p.Tokens/2 {
					t.Errorf("turn %d: of %d tokens %d were predicted to be cached, %d were", turn, p.Tokens, p.Predicted, p.Reported)
				}
				texts = append(texts, p.Answer)
				harness.AwaitQuiet(t, engines)
			}
			again := api.predict(t, g, texts[:len(texts)-1])
			if again.Predicted != again.Reported || again.Reported < again.Tokens*9/10 {
				t.Errorf("the same prompt: of %d tokens %d were predicted to be cached, %d were", again.Tokens, again.Predicted, again.Reported)
			}
			if fetched := fetchedTokens(t); fetched == 0 {
				t.Error("no tokens were fetched: this proves nothing")
			}
		})
	}
}

// TestEventsWithoutRender: an engine that does not render serves these APIs as ever, the
// log names the cure once for each, and chats keep their events.
func TestEventsWithoutRender(t *testing.T) {
	harness.Log.Reset()
	engines := harness.StartPublishingEngines(t, 1, enginesim.Config{Speed: 200})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(6, 14))
	for _, api := range renderedAPIs {
		for range 3 {
			api.predict(t, g, []string{harness.Words(rnd, 3000)})
			harness.AwaitQuiet(t, engines)
		}
		const cure = "vLLM: --enable-scale-out"
		if n := strings.Count(harness.Log.String(), `"api":"`+api.name+`"`); n != 1 || !strings.Contains(harness.Log.String(), cure) {
			t.Errorf("%s: %d lines name the cure", api.name, n)
		}
	}
	chat := request(harness.Words(rnd, 6000), nil)
	g.PredictExactly(t, "a new chat", chat, 0)
	harness.AwaitQuiet(t, engines)
	g.PredictExactly(t, "the chat again", chat, 1000)
}
