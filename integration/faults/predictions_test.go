// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// forecast is the prediction of the prefill of a prompt that no engine holds, by
// address, in milliseconds.
func forecast(t *testing.T) map[string]float64 {
	t.Helper()
	var e struct {
		Upstreams []struct {
			Address   string
			PrefillMS float64 `json:"prefill_ms"`
		}
	}
	_, answer := harness.Admin(t, http.MethodPost, "/kv_aware/explain", harness.Chat(strings.Repeat("What no engine has seen. ", 400), false))
	if err := json.Unmarshal([]byte(answer), &e); err != nil || len(e.Upstreams) == 0 {
		t.Fatalf("%v: %s", err, answer)
	}
	all := make(map[string]float64)
	for _, u := range e.Upstreams {
		all[u.Address] = u.PrefillMS
	}
	return all
}

// refusals lists answers that come at once and say nothing of how fast the engine
// computes a prompt.
var refusals = []enginesim.Fault{
	{Kind: enginesim.Status, Status: http.StatusBadRequest},
	{Kind: enginesim.Status, Status: http.StatusRequestEntityTooLarge},
	{Kind: enginesim.Status, Status: http.StatusTooManyRequests, RetryAfter: "1"},
	{Kind: enginesim.Status, Status: http.StatusInternalServerError},
	{Kind: enginesim.Status, Status: http.StatusServiceUnavailable},
	{Kind: enginesim.Reset},
}

// Refused prompts, however long, change no prediction.
func TestRefusalsChangeNoPrediction(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until ejected engines are looked at again")
	}
	const rounds, promptBytes = 2, 200_000
	nodes := startNodes(t, engineConfig, 0, 2)
	s := newSite(t, "refusals", start, nodes)
	g := startGateway(t, []*site{s})
	if count := g.pace(s, 0, warmRequests, time.Millisecond, s.request, nil); count.lost > 0 {
		t.Fatal(count)
	}
	harness.Await(t, "no request is under way", func() bool { return reserved(t) == "" })
	before := forecast(t)
	for i := range rounds * len(refusals) {
		for _, n := range nodes {
			if err := errors.Join(n.heal(), n.engine.Fault(refusals[i%len(refusals)])); err != nil {
				t.Fatal(err)
			}
		}
		long := fmt.Sprint("Prompt ", i, ". ") + strings.Repeat("It is refused. ", promptBytes/15)
		if lost := g.send(t.Context(), s, harness.Chat(long, i%4 == 0)); lost == "" {
			t.Fatal("an engine that fails has answered")
		}
	}
	for _, n := range nodes {
		if err := n.heal(); err != nil {
			t.Fatal(err)
		}
	}
	var after map[string]float64
	harness.Await(t, "no engine is left out", func() bool {
		after = forecast(t)
		return after[nodes[0].address()] > 0 && after[nodes[1].address()] > 0
	})
	for address, ms := range after {
		if ms != before[address] {
			t.Errorf("%s: the predicted prefill was %.3f ms, and after refused prompts %.3f ms", address, before[address], ms)
		}
	}
	checkNothingIsLeft(t)
}
