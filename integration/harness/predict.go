// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"testing"
)

// Prediction compares the gateway's prediction for one prompt with the engine's
// report. PolicySite and PolicyRoute send the header that it needs.
type Prediction struct {
	Tokens              int // of the prompt
	Predicted, Reported int // cached tokens
	Answer              string
}

// RelativeError returns the error of the prediction, as a share of the prompt.
func (p Prediction) RelativeError() float64 {
	return math.Abs(float64(p.Predicted-p.Reported)) / float64(p.Tokens)
}

// Predict sends a chat request and returns its Prediction.
func (g *Gateway) Predict(t testing.TB, path, body string) Prediction {
	t.Helper()
	return ReadPrediction(t, g.Post(t, path, body))
}

// ReadPrediction reads the prediction and the engine's report from an answer.
func ReadPrediction(t testing.TB, answer Reply) Prediction {
	t.Helper()
	if answer.Status != http.StatusOK {
		t.Fatalf("status %d: %.300s", answer.Status, answer.Body)
	}
	var a Completion
	if err := json.Unmarshal([]byte(answer.Body), &a); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(answer.Header.Get("X-Predicted"))
	if err != nil {
		t.Fatalf("no prediction: %q", answer.Header.Get("X-Predicted"))
	}
	return Prediction{a.Usage.PromptTokens, n, a.Usage.PromptTokensDetails.CachedTokens, a.Choices[0].Message.Content}
}

// PredictExactly sends a chat request and fails the test unless the prediction
// is right to the token and at least atLeast tokens are cached.
func (g *Gateway) PredictExactly(t testing.TB, what, body string, atLeast int) Prediction {
	t.Helper()
	p := g.Predict(t, ChatPath, body)
	if p.Predicted != p.Reported || p.Reported < atLeast {
		_, upstreams := Admin(t, http.MethodGet, "/kv_aware/upstreams", "")
		_, tree := Admin(t, http.MethodGet, "/kv_aware/tree", "")
		t.Errorf("%s: of %d tokens, %d were predicted to be cached and %d were, want at least %d; the gateway reports %s%s",
			what, p.Tokens, p.Predicted, p.Reported, atLeast, upstreams, tree)
	}
	return p
}
