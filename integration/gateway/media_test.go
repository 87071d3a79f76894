// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// picture returns a chat request with an image of its own.
func picture(number int) string {
	image := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fmt.Sprintf("picture %d ", number), 2000)))
	return fmt.Sprintf(`{"model":"eyes","max_tokens":2,"messages":[{"role":"user","content":[{"type":"text","text":"What is on picture %d?"},`+
		`{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}]}`, number, image)
}

// The gateway learns the tokens of an image from the prompt tokens that engines
// report: 66 for each image in the simulation, and a few for the text around it.
func TestTokensOfAnImageAreLearned(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 100})
	g := harness.StartGateway(t, "caddyfile", `:8080 {
		pii_janitor
		reverse_proxy `+harness.Addresses(engines)+` {
			lb_policy kv_aware
		}
	}`)
	estimate := func() int {
		var e struct {
			PromptTokens int `json:"prompt_tokens"`
		}
		_, answer := harness.Admin(t, http.MethodPost, "/kv_aware/explain", picture(1000))
		if err := json.Unmarshal([]byte(answer), &e); err != nil {
			t.Fatalf("%v: %s", err, answer)
		}
		return e.PromptTokens
	}
	if before := estimate(); before < 500 {
		t.Fatalf("%d tokens before anything was learned", before)
	}
	for i := range 30 {
		if answer := g.Post(t, "/v1/chat/completions", picture(i)); answer.Status != http.StatusOK {
			t.Fatalf("status %d: %.300s", answer.Status, answer.Body)
		}
	}
	counted := engines[0].Served()[1].PromptTokens
	if after := estimate(); after > 2*counted || after < counted/2 {
		t.Fatalf("%d tokens after 30 pictures, the engine counts %d", after, counted)
	}
}
