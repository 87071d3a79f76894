// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// The places of the recorded answers, which `make test` reads again.
const (
	modelsRecording  = harness.Root + "/internal/engine/metrics/testdata/models.vllm-0.32.json"
	rendersRecording = harness.Root + "/internal/tokenize/testdata/vllm-0.32.render."
	lmcacheRecording = harness.Root + "/internal/lmcache/testdata/"
	// recordedPort is the port of LMCache's server in the recordings.
	recordedPort = "18933"
)

// recordAnswers refreshes the recorded answers of an engine: its models, and what it
// renders for the recorded requests.
func (s *suite) recordAnswers(t *testing.T) {
	s.keepAnswer(t, modelsRecording, get(t, s.wide.url()+"/v1/models"))
	for _, api := range []string{"messages", "responses"} {
		request, err := os.ReadFile(rendersRecording + api + ".tool_results.request.json")
		if err != nil {
			t.Fatal(err)
		}
		answer := post(t, s.wide.url(), "/v1/"+api+"/render", string(request))
		if answer.Status != http.StatusOK {
			t.Fatalf("%s: status %d: %.300s", api, answer.Status, answer.Body)
		}
		s.keepAnswer(t, rendersRecording+api+".tool_results.answer.json", answer.Body)
	}
	s.recordStaging(t)
	s.seen("answers of `/v1/models`, render, LMCache's node and coordinator", "recorded for `make test`, which reads them again")
}

// recordStaging refreshes the answers of LMCache to one staging under the name that
// requests use, which it does not know, and to one under the model's path, by the node
// and through the coordinator.
func (s *suite) recordStaging(t *testing.T) {
	keep := func(name, body string) { t.Helper(); s.keepAnswer(t, lmcacheRecording+name, body) }
	keep("status.engine_driven.json", get(t, s.lmcache.url()+"/status"))
	keep("instances.json", get(t, s.lmcache.coordinatorURL()+"/instances"))
	tokens := make([]int, 1053) // 16 chunks, and a rest
	rnd := rand.New(rand.NewPCG(64, 64))
	for i := range tokens {
		tokens[i] = 100 + rnd.IntN(7000)
	}
	read(t, post(t, s.offloading.url(), "/v1/completions", object("model", "tiny", "prompt", tokens, "max_tokens", 1)))
	s.lmcache.clearStored(t)
	for _, c := range []struct {
		name, url, jobs   string
		refused, taken    int
		refusal, accepted string // files
		more              []any  // members of the order
	}{
		{"node", s.lmcache.url(), "/cache/prefetches/", http.StatusServiceUnavailable, http.StatusAccepted,
			"node.no_layout.503.json", "node.submitted.202.json", nil},
		{"coordinator", s.lmcache.coordinatorURL(), "/cache/prefetches/" + lmcacheInstance + "/", http.StatusBadGateway, http.StatusOK,
			"coordinator.no_layout.502.json", "coordinator.submitted.json", []any{"instance_id", lmcacheInstance}},
	} {
		order := func(model string, status int) string {
			t.Helper()
			a := post(t, c.url, "/cache/prefetches", object(append(c.more, "model_name", model, "world_size", 1, "token_ids", tokens)...))
			if a.Status != status {
				t.Fatalf("%s, for %s: status %d: %.300s", c.name, model, a.Status, a.Body)
			}
			return a.Body
		}
		keep(c.refusal, order("tiny", c.refused))
		accepted := order(filepath.Join(installed, "models/tiny"), c.taken)
		keep(c.accepted, accepted)
		var job struct {
			ID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(accepted), &job); err != nil {
			t.Fatal(err)
		}
		var done string
		harness.Await(t, c.name+": the staging is completed", func() bool {
			done = get(t, c.url+c.jobs+job.ID)
			return strings.Contains(done, `"completed"`)
		})
		keep(c.name+".completed.json", done)
		s.lmcache.clearMemory(t)
	}
}

// keepAnswer writes a recorded answer, without the paths and ports of this machine.
func (s *suite) keepAnswer(t *testing.T, file, body string) {
	t.Helper()
	body = strings.NewReplacer(
		installed, "", s.lmcache.disk, "/var/lib/lmcache", strconv.Itoa(s.lmcache.http), recordedPort,
	).Replace(body)
	if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}
