// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/json"
	"fmt"
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
	// request returns the body for a conversation.
	request func(items []any) map[string]any
	// user and assistant are the kinds of their texts.
	user, assistant string
	// toolCall returns the items of an assistant's call of a tool, and of its result.
	toolCall func(id, result string) []any
}

var renderedAPIs = []renderedAPI{
	{"messages", "/v1/messages", func(items []any) map[string]any {
		return map[string]any{
			"model": "sim", "max_tokens": 16, "messages": items,
			"system": "You answer from the documents. " + strings.Repeat("Be brief and exact. ", 30),
			"tools":  []any{map[string]any{"name": "look", "description": "Looks a word up.", "input_schema": map[string]any{"type": "object"}}},
		}
	}, "text", "text", func(id, result string) []any {
		return []any{
			map[string]any{"role": "assistant", "content": []any{map[string]any{"type": "tool_use", "id": id, "name": "look", "input": map[string]any{"word": id}}}},
			map[string]any{"role": "user", "content": []any{map[string]any{"type": "tool_result", "tool_use_id": id, "content": result}}},
		}
	}},
	{"responses", "/v1/responses", func(items []any) map[string]any {
		return map[string]any{
			"model": "sim", "max_output_tokens": 16, "input": items,
			"instructions": "You answer from the documents. " + strings.Repeat("Be brief and exact. ", 30),
			"tools":        []any{map[string]any{"type": "function", "name": "look", "parameters": map[string]any{"type": "object"}}},
		}
	}, "input_text", "output_text", func(id, result string) []any {
		return []any{
			map[string]any{"type": "function_call", "call_id": id, "name": "look", "arguments": `{"word":"` + id + `"}`},
			map[string]any{"type": "function_call_output", "call_id": id, "output": result},
		}
	}},
}

// ask returns the item of a user's text.
func (a *renderedAPI) ask(text string) any { return message("user", a.user, text) }

func message(role, kind, text string) any {
	return map[string]any{"role": role, "content": []any{map[string]string{"type": kind, "text": text}}}
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
func (a *renderedAPI) predict(t *testing.T, g *harness.Gateway, items []any) harness.Prediction {
	t.Helper()
	body, err := json.Marshal(a.request(items))
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
// turns of a conversation are predicted to the token, answers and results of tools
// included, and a prompt that another client has sent too.
func TestEventsOfRenderedAPIs(t *testing.T) {
	for _, api := range renderedAPIs {
		t.Run(api.name, func(t *testing.T) {
			engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 100, CacheBlocks: 4000, ScaleOut: true})
			g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
			rnd := rand.New(rand.NewPCG(5, 14))
			var items []any
			sent := 0
			for turn := range 6 {
				if turn%2 == 0 {
					items = append(items, api.ask(harness.Words(rnd, 3000)))
				} else {
					items = append(items, api.toolCall(fmt.Sprint("call", turn), harness.Words(rnd, 1500))...)
				}
				sent = len(items)
				p := api.predict(t, g, items)
				if p.Predicted != p.Reported || turn > 0 && p.Reported < p.Tokens/2 {
					t.Errorf("turn %d: of %d tokens %d were predicted to be cached, %d were", turn, p.Tokens, p.Predicted, p.Reported)
				}
				items = append(items, message("assistant", api.assistant, p.Answer))
				harness.AwaitQuiet(t, engines)
			}
			again := api.predict(t, g, items[:sent])
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
// log names the cure once for each, and chats keep their events. After a restart, which
// may have brought another option, the engine is asked again.
func TestEventsWithoutRender(t *testing.T) {
	harness.Log.Reset()
	engines := harness.StartPublishingEngines(t, 1, enginesim.Config{Speed: 200})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(6, 14))
	for _, api := range renderedAPIs {
		for range 3 {
			api.predict(t, g, []any{api.ask(harness.Words(rnd, 3000))})
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

	if err := engines[0].Fault(enginesim.Fault{Kind: enginesim.Crash}); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "the refusal is seen", func() bool { return harness.Upstream(t, engines[0]).Engine.Refused })
	if err := engines[0].Heal(); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "the restart is seen", func() bool { return strings.Contains(harness.Log.String(), "the engine was restarted") })
	for _, api := range renderedAPIs {
		api.predict(t, g, []any{api.ask(harness.Words(rnd, 3000))})
		harness.Await(t, "the engine is asked again", func() bool { return strings.Count(harness.Log.String(), `"api":"`+api.name+`"`) == 2 })
	}
}
