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

// The folders of the answers that `make test` reads again.
const (
	modelsRecording  = harness.Root + "/internal/engine/metrics/testdata/models.vllm-0.32.json"
	rendersRecorded  = harness.Root + "/internal/tokenize/testdata/vllm-0.32.render."
	lmcacheRecording = harness.Root + "/internal/lmcache/testdata/"
	// recordedPort is the port of LMCache's server in the recordings.
	recordedPort = "18933"
)

// recordAnswers refreshes the recorded answers of an engine: its models, and what it
// renders for the recorded requests.
func (s *suite) recordAnswers(t *testing.T) {
	s.keepAnswer(t, modelsRecording, get(t, s.wide.url()+"/v1/models"))
	for _, api := range []string{"messages", "responses"} {
		request, err := os.ReadFile(rendersRecorded + api + ".tool_results.request.json")
		if err != nil {
			t.Fatal(err)
		}
		answer := post(t, s.wide.url(), "/v1/"+api+"/render", string(request))
		if answer.Status != http.StatusOK {
			t.Fatalf("%s: status %d: %.300s", api, answer.Status, answer.Body)
		}
		s.keepAnswer(t, rendersRecorded+api+".tool_results.answer.json", answer.Body)
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
		name, url      string
		refused, taken int
		instance       string
	}{
		{"node", s.lmcache.url(), http.StatusServiceUnavailable, http.StatusAccepted, ""},
		{"coordinator", s.lmcache.coordinatorURL(), http.StatusBadGateway, http.StatusOK, lmcacheInstance},
	} {
		order := func(model string) harness.Reply {
			members := []any{"model_name", model, "world_size", 1, "token_ids", tokens}
			if c.instance != "" {
				members = append(members, "instance_id", c.instance)
			}
			return post(t, c.url, "/cache/prefetches", object(members...))
		}
		if a := order("tiny"); a.Status != c.refused {
			t.Errorf("%s: status %d under a name that LMCache does not know: %.300s", c.name, a.Status, a.Body)
		} else {
			keep(c.name+".no_layout."+strconv.Itoa(c.refused)+".json", a.Body)
		}
		a := order(filepath.Join(installed, "models/tiny"))
		var job struct {
			ID string `json:"request_id"`
		}
		if a.Status != c.taken || json.Unmarshal([]byte(a.Body), &job) != nil {
			t.Fatalf("%s: status %d: %.300s", c.name, a.Status, a.Body)
		}
		keep(c.name+map[string]string{"node": ".submitted.202.json", "coordinator": ".submitted.json"}[c.name], a.Body)
		path := strings.TrimSuffix("/cache/prefetches/"+c.instance, "/") + "/" + job.ID
		var done string
		harness.Await(t, c.name+": the staging is completed", func() bool {
			done = get(t, c.url+path)
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
