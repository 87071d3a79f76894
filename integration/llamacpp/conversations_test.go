// SPDX-License-Identifier: Apache-2.0

package llamacpp

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/counterparts"
	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// conversation asks about retrieved text, turn by turn.
type conversation struct {
	messages []message
	tokens   int // of the last prompt, which some server has cached
}

// message is a message of a chat.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func newConversation(rnd *rand.Rand, name string) *conversation {
	return &conversation{messages: []message{{"system", "Answer from the text. Text of " + name + ": " + counterparts.Text(rnd, 1000)}}}
}

// ask returns the request of the next turn, with another text that was retrieved.
func (c *conversation) ask(rnd *rand.Rand) string {
	c.messages = append(c.messages, message{"user", "Text: " + counterparts.Text(rnd, 100) + "\nWhat does it say?"})
	return encode(map[string]any{"model": counterparts.Model, "max_tokens": 16, "messages": c.messages})
}

// answered adds an answer, and returns its report of cached tokens.
func (c *conversation) answered(t *testing.T, body string) (cached int) {
	t.Helper()
	var a harness.Completion
	if err := json.Unmarshal([]byte(body), &a); err != nil || len(a.Choices) == 0 {
		t.Fatalf("not a chat answer: %.300s", body)
	}
	c.messages = append(c.messages, message{"assistant", a.Choices[0].Message.Content})
	c.tokens = a.Usage.PromptTokens
	return a.Usage.PromptTokensDetails.CachedTokens
}

func encode(v any) string {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(body)
}

// Each turn of a conversation reaches the server that has computed the turns before.
// With round_robin another server often computes them anew. All figures are
// llama.cpp's own.
func TestConversationsAreCached(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	aware, blind := converse(t, "kv_aware"), converse(t, "round_robin")
	if aware < 0.99 {
		t.Errorf("kv_aware: %.0f %% of what one large cache holds was cached", 100*aware)
	}
	if blind > 0.8 {
		t.Errorf("round_robin: %.0f %% of what one large cache holds was cached: this traffic shows nothing", 100*blind)
	}
	t.Logf("cached, beside what one large cache holds: kv_aware %.3f, round_robin %.3f", aware, blind)
}

// converse holds six conversations side by side. It returns the cached tokens in
// proportion to those of the prompts of the turns before.
func converse(t *testing.T, policy string) (share float64) {
	t.Run(policy, func(t *testing.T) {
		const conversations, turns = 6, 5
		servers := counterparts.StartLlamaCPP(t, 3)
		g := startGateway(t, servers, policy)
		rnd := rand.New(rand.NewPCG(3, 3))
		var order []*conversation
		for i := range conversations {
			c := newConversation(rnd, fmt.Sprint("tenant ", i))
			for range turns {
				order = append(order, c)
			}
		}
		rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })

		var predictions predictionErrors
		var possible, reported int
		for _, c := range order {
			answer := g.Post(t, harness.ChatPath, c.ask(rnd))
			if answer.Status != http.StatusOK {
				t.Fatalf("status %d: %.300s", answer.Status, answer.Body)
			}
			possible += c.tokens
			reported += c.answered(t, answer.Body)
			if policy == "kv_aware" {
				predictions.add(harness.ReadPrediction(t, answer))
			}
		}
		if counted := int(sumMetric(t, servers, cachedTokens)); counted != reported {
			t.Errorf("the answers report %d cached tokens, the servers count %d", reported, counted)
		}
		if policy == "kv_aware" {
			predictions.check(t, servers)
		}
		share = float64(reported) / float64(possible)
	})
	return share
}

// predictionErrors adds up what the gateway predicts from its own history, beside what
// the servers report.
type predictionErrors struct{ tokens, cold, wrong, reported int }

func (e *predictionErrors) add(p harness.Prediction) {
	e.reported += p.Reported
	if p.Predicted == 0 && p.Reported == 0 {
		e.cold++
		return
	}
	e.tokens += p.Tokens
	e.wrong += max(p.Predicted-p.Reported, p.Reported-p.Predicted)
}

// check compares all of it with the gateway's metrics. The bound is far above what is
// usual, because llama.cpp matches to the token, and the gateway in blocks of text.
func (e *predictionErrors) check(t *testing.T, servers []*counterparts.LlamaCPP) {
	t.Helper()
	share := float64(e.wrong) / float64(e.tokens)
	t.Logf("sum of the predictions' errors: %.1f %% of the prompts that are not cold; %d were cold", 100*share, e.cold)
	if share > 0.05 {
		t.Error("the predictions are wrong")
	}
	if got := int(harness.Metric(t, reportedTokens)); got != e.reported {
		t.Errorf("the gateway has read %d cached tokens from the answers, they report %d", got, e.reported)
	}
	for _, s := range servers {
		if u := harness.Upstreams(t)[s.Address]; u.Engine.Kind != "llama.cpp" || u.Engine.Models != 1 {
			t.Errorf("the gateway has read %+v from the metrics and the model list", u.Engine)
		}
	}
}
