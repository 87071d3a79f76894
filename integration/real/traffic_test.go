// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// site returns a Caddyfile for these engines whose policy has these options.
// Answers carry the prediction.
func site(engines []*engine, options ...string) string {
	var addresses []string
	for _, e := range engines {
		addresses = append(addresses, e.address())
	}
	return fmt.Sprintf(":8080 {\npii_janitor\nheader >X-Predicted {http.kv_aware.match_tokens}\nheader >X-Upstream {http.reverse_proxy.upstream.hostport}\n"+
		"reverse_proxy %s {\nlb_policy kv_aware {\n%s\n}\n}\n}", strings.Join(addresses, " "), strings.Join(options, "\n"))
}

// followEvents is the option that follows engines on one host.
func followEvents() string {
	return fmt.Sprintf("events %s+%d {\nreplay %s+%d\n}", harness.UpstreamHost, eventsOffset, harness.UpstreamHost, replayOffset)
}

// gateway starts a gateway, and waits until it follows the engines if it is to.
func gateway(t *testing.T, engines []*engine, options ...string) *harness.Gateway {
	t.Helper()
	g := harness.StartGateway(t, "caddyfile", site(engines, options...))
	if !strings.Contains(strings.Join(options, " "), "events ") {
		return g
	}
	for _, e := range engines {
		harness.Await(t, "the events of "+e.name+" are followed", func() bool {
			events := harness.Upstreams(t)[e.address()].Events
			return len(events) == 1 && events[0].Connected && events[0].Known == "complete"
		})
	}
	return g
}

// settle returns once the gateway has learned all it can from the requests so far.
func settle(t *testing.T) {
	t.Helper()
	last, quiet := -1.0, 0
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		now := harness.Metric(t, "caddy_kv_aware_tree_bytes") + harness.Metric(t, "caddy_kv_aware_events_blocks_total")
		if quiet++; now != last {
			last, quiet = now, 0
		}
		waiting := 0
		for _, u := range harness.Upstreams(t) {
			waiting += u.Tokens.Waiting
		}
		if quiet >= 20 && waiting == 0 || quiet == 100 {
			return
		}
	}
	t.Fatal("the gateway never stops learning")
}

// answer is an engine's answer, in any API, with the gateway's prediction for it.
type answer struct {
	harness.Reply
	prompt, cached, predicted int
	upstream                  string
	text                      string
}

// post sends a request to an engine or a gateway.
func post(t *testing.T, url, path, body string) harness.Reply {
	t.Helper()
	return (&harness.Gateway{URL: url, Client: harness.NewClient(t)}).Post(t, path, body)
}

// read reads the answer of any API.
func read(t *testing.T, r harness.Reply) answer {
	t.Helper()
	if r.Status != http.StatusOK {
		t.Fatalf("status %d: %.400s", r.Status, r.Body)
	}
	var b struct {
		Choices []struct {
			Text    string
			Message struct{ Content string }
		}
		Content []struct{ Text string }
		Usage   struct {
			PromptTokens        int `json:"prompt_tokens"`
			PromptTokensDetails struct {
				Cached int `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
			InputTokens        int `json:"input_tokens"`
			InputTokensDetails struct {
				Cached int `json:"cached_tokens"`
			} `json:"input_tokens_details"`
			Read    int `json:"cache_read_input_tokens"`
			Written int `json:"cache_creation_input_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(r.Body), &b); err != nil {
		t.Fatalf("%v: %.400s", err, r.Body)
	}
	a := answer{Reply: r, upstream: r.Header.Get("X-Upstream")}
	u := b.Usage
	a.prompt = u.PromptTokens + u.InputTokens + u.Read + u.Written
	a.cached = u.PromptTokensDetails.Cached + u.InputTokensDetails.Cached + u.Read
	if len(b.Choices) > 0 {
		a.text = b.Choices[0].Text + b.Choices[0].Message.Content
	}
	if len(b.Content) > 0 {
		a.text = b.Content[0].Text
	}
	a.predicted, _ = strconv.Atoi(r.Header.Get("X-Predicted"))
	return a
}

// ask sends a request through the gateway, and waits until it has learned from it.
func ask(t *testing.T, g *harness.Gateway, path, body string) answer {
	t.Helper()
	a := read(t, g.Post(t, path, body))
	settle(t)
	return a
}

// exactly sends a request and requires that its prediction is right to the token,
// and that at least so many tokens are cached.
func exactly(t *testing.T, g *harness.Gateway, what, path, body string, atLeast int) answer {
	t.Helper()
	a := ask(t, g, path, body)
	if a.predicted != a.cached || a.cached < atLeast {
		t.Errorf("%s: of %d tokens, %d were predicted to be cached and %d were, want at least %d", what, a.prompt, a.predicted, a.cached, atLeast)
	}
	return a
}

// object returns the JSON of an object from its members: name, value, name, value.
func object(members ...any) string {
	o := make(map[string]any)
	for i := 0; i < len(members); i += 2 {
		o[members[i].(string)] = members[i+1]
	}
	body, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(body)
}

// chat returns a chat request for a short answer.
func chat(model, text string, more ...any) string {
	return object(append([]any{"model", model, "messages", []map[string]string{{"role": "user", "content": text}}, "max_tokens", 4, "temperature", 0}, more...)...)
}

var vocabulary = strings.Fields("the engine keeps blocks of prompts in memory while a gateway waits for tokens and answers come back soon " +
	"under load each disk reads late def return self import class list dict value error open file line print range len")

// words returns a text of so many words; a word is a token, or two.
func words(rnd *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(vocabulary[rnd.IntN(len(vocabulary))])
		b.WriteByte(' ')
	}
	return b.String()
}

// figures sum up the predictions of some requests.
type figures struct {
	requests, cold    int // cold ones had nothing cached, and nothing was predicted
	tokens, missed    int // of the others: prompt tokens, and |predicted - reported|
	cached, allTokens int // of all
}

func (f *figures) add(a answer) {
	f.requests++
	f.cached += a.cached
	f.allTokens += a.prompt
	if a.cached == 0 && a.predicted == 0 {
		f.cold++
		return
	}
	f.tokens += a.prompt
	f.missed += max(a.predicted-a.cached, a.cached-a.predicted)
}

// share returns the prediction error over the requests that were not cold.
func (f *figures) share() float64 { return float64(f.missed) / float64(max(f.tokens, 1)) }

func (f *figures) String() string {
	return fmt.Sprintf("error %.2f %% of the prompt tokens of %d requests; %d of %d were cold; %.0f %% of all prompt tokens were cached",
		100*f.share(), f.requests-f.cold, f.cold, f.requests, 100*float64(f.cached)/float64(max(f.allTokens, 1)))
}

// conversation is a chat that grows by the engine's own answers.
type conversation struct {
	model    string
	messages []map[string]string
}

func (c *conversation) say(role, text string) {
	c.messages = append(c.messages, map[string]string{"role": role, "content": text})
}

func (c *conversation) body() string {
	return object("model", c.model, "messages", c.messages, "max_tokens", 24, "temperature", 0)
}

// converse holds eight conversations of so many turns through the gateway, in a
// random order, two of them at a time with one system prompt. Before each turn it
// calls between.
func converse(t *testing.T, g *harness.Gateway, seed uint64, turns int, between func()) (f figures) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(20261201, seed))
	all := make([]*conversation, 8)
	for i := range all {
		all[i] = &conversation{model: "tiny"}
		if i%2 == 0 {
			all[i].say("system", fmt.Sprintf("You are assistant %d of %d. %s", i, seed, words(rnd, 400)))
		} else {
			all[i].messages = slices.Clone(all[i-1].messages)
		}
	}
	var order []int
	for range turns {
		order = append(order, rnd.Perm(len(all))...)
	}
	for _, i := range order {
		if between != nil {
			between()
		}
		c := all[i]
		c.say("user", words(rnd, 60+rnd.IntN(120)))
		a := ask(t, g, harness.ChatPath, c.body())
		c.say("assistant", a.text)
		f.add(a)
	}
	return f
}

// get returns the body of a GET.
func get(t *testing.T, url string) string {
	t.Helper()
	a, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v", url, a.StatusCode, err)
	}
	return string(body)
}
