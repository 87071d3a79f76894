// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// site is a Caddyfile with options of the janitor, the engines, and options of the
// policy.
const site = `:8080 {
	pii_janitor {
		%s
	}
	reverse_proxy %s {
		lb_policy kv_aware {
			%s
		}
	}
}`

// assistant answers as a model does: it calls the tool that is offered for the last
// question, tells what the tool has said, keeps to the schema that is asked for, and
// else repeats the question.
func assistant(r enginesim.Request) enginesim.Reply {
	const weather = `{"city":"Rome","warm":true}`
	var body struct {
		Tools []struct {
			Name     string
			Function struct{ Name string }
		}
	}
	if err := json.Unmarshal(r.Body, &body); err != nil {
		panic(err)
	}
	_, said, told := bytes.Cut(r.Body, []byte("THE TOOL SAYS "))
	switch {
	case told:
		said, _, _ = bytes.Cut(said, []byte(`"`))
		return enginesim.Reply{Text: "I have heard: " + string(said)}
	case bytes.Contains(r.Body, []byte(`"warm"`)) && len(body.Tools) == 0:
		return enginesim.Reply{Text: weather}
	case len(body.Tools) == 0:
		return enginesim.Reply{Text: r.LastUser}
	}
	name := body.Tools[0].Name + body.Tools[0].Function.Name
	if name == "json" { // the AI SDK's way to a schema with an unknown model of Anthropic's
		return enginesim.Reply{ToolCalls: []enginesim.ToolCall{{Name: name, Arguments: weather}}}
	}
	who, err := json.Marshal(map[string]string{"who": r.LastUser})
	if err != nil {
		panic(err)
	}
	return enginesim.Reply{ToolCalls: []enginesim.ToolCall{{Name: name, Arguments: string(who)}}}
}

// The SDKs return the engine's whole and streamed answers, tool calls, structured
// output, embeddings and lists, with the client's own values where the engine has seen
// placeholders.
func (s *sdks) testAnswers(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Models: []string{"sim"}, Speed: 200, Responder: assistant, Record: 1000})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(site, "restore on", harness.Addresses(engines), ""))

	asked := 0
	question := func() string {
		asked++
		return fmt.Sprint(harness.SecretMail, " is the address of person ", asked, ".", strings.Repeat(" Tell me more.", 20))
	}
	s.each(t, "text", func(t *testing.T, client string) {
		ask := question()
		if o := s.must(t, client, "text", g.URL, ask); strings.TrimSpace(o.Result.Text) != ask || o.Result.Cached >= 64 {
			t.Errorf("the SDK has %+v", o.Result)
		}
		if o := s.must(t, client, "text", g.URL, ask); o.Result.Cached < 64 {
			t.Errorf("at the second time %d tokens are reported as cached", o.Result.Cached)
		}
	})
	s.each(t, "stream", func(t *testing.T, client string) {
		ask := question()
		if o := s.must(t, client, "stream", g.URL, ask); o.Result.Text != ask || o.Result.Pieces < 20 {
			t.Errorf("the SDK has %+v", o.Result)
		}
	})
	s.each(t, "collected", func(t *testing.T, client string) {
		ask := question()
		s.must(t, client, "collected", g.URL, ask)
		if o := s.must(t, client, "collected", g.URL, ask); o.Result.Text != ask || o.Result.Cached < 64 {
			t.Errorf("the SDK has %+v", o.Result)
		}
	})
	for _, act := range []string{"tool", "streamedTool"} {
		s.each(t, act, func(t *testing.T, client string) {
			ask := question()
			want := fmt.Sprintf("I have heard: %s is here", ask)
			if o := s.must(t, client, act, g.URL, ask); o.Result.Arguments.Who != ask || o.Result.Text != want {
				t.Errorf("the tool was called with %q, the answer is %q", o.Result.Arguments.Who, o.Result.Text)
			}
		})
	}
	s.each(t, "object", func(t *testing.T, client string) {
		if o := s.must(t, client, "object", g.URL, question()); fmt.Sprint(o.Result.Object) != "map[city:Rome warm:true]" {
			t.Errorf("the SDK has parsed %v", o.Result.Object)
		}
	})
	s.each(t, "embed", func(t *testing.T, client string) {
		o := s.must(t, client, "embed", g.URL, question())
		if v := o.Result.Vectors; len(v) != 2 || len(v[0]) < 8 || len(v[0]) != len(v[1]) || slices.Equal(v[0], v[1]) {
			t.Errorf("the SDK has %v", v)
		}
	})
	s.each(t, "stored", func(t *testing.T, client string) {
		// The engine has stored the placeholder. Whose value it was is forgotten.
		if o := s.must(t, client, "stored", g.URL, question()); !strings.HasPrefix(o.Result.Text, "[EMAIL_1] is") {
			t.Errorf("the stored response is %q", o.Result.Text)
		}
	})
	if o := s.must(t, "openai", "models", g.URL, ""); !slices.Equal(o.Result.Models, []string{"sim"}) {
		t.Errorf("the models are %v", o.Result.Models)
	}
	if o := s.must(t, "anthropic", "count", g.URL, question()); o.Result.Tokens < 64 {
		t.Errorf("the prompt has %d tokens", o.Result.Tokens)
	}
	for _, e := range engines {
		for _, r := range e.Received() {
			if bytes.Contains(r.Body, []byte(harness.SecretMail)) {
				t.Fatalf("the engine was sent the address at %s", r.Path)
			}
		}
	}
}
