// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	lmc "github.com/bauxite/caddy-kvaware/internal/lmcache"
)

// clearMemory drops what LMCache has in CPU memory. What is on disk stays.
func (l *lmcache) clearMemory(t *testing.T) {
	t.Helper()
	if a := post(t, l.url(), "/cache/clear", `{"tier":"l1","force":true}`); a.Status != http.StatusOK {
		t.Fatalf("clearing LMCache's memory: status %d: %.300s", a.Status, a.Body)
	}
}

// clearStored drops what LMCache has in CPU memory when it has all that the engine
// gives it, which goes on after the answer.
func (l *lmcache) clearStored(t *testing.T) {
	t.Helper()
	last, same := 0, 0
	harness.Await(t, "LMCache has stored the prompt", func() bool {
		var status struct {
			Storage struct {
				Memory struct {
					Objects int `json:"total_object_count"`
				} `json:"l1_manager"`
			} `json:"storage_manager"`
		}
		if err := json.Unmarshal([]byte(get(t, l.url()+"/status")), &status); err != nil {
			t.Fatal(err)
		}
		if n := status.Storage.Memory.Objects; n == last && n > 0 {
			same++
		} else {
			last, same = n, 0
		}
		return same >= 10
	})
	l.clearMemory(t)
}

// stagings is the number of prompts that are staged in each way.
const stagings = 6

// staging has prompts staged from disk, by the node's server and through the
// coordinator.
func (s *suite) staging(t *testing.T) {
	for _, c := range []struct{ what, option string }{
		{"the node's server", "lmcache " + s.lmcache.url() + " {\nwait 100ms\n}"},
		{"the coordinator", "lmcache coordinator " + s.lmcache.coordinatorURL() + " {\nwait 100ms\n}"},
	} {
		g := gateway(t, []*engine{s.offloading}, followEvents(), c.option)
		rnd := rand.New(rand.NewPCG(11, uint64(len(c.option))))
		var bodies []string
		for range stagings {
			bodies = append(bodies, chat("tiny", words(rnd, 1200)))
			ask(t, g, harness.ChatPath, bodies[len(bodies)-1])
			s.lmcache.clearStored(t) // before the gateway looks the prompt up, two seconds after the answer
		}
		time.Sleep(4 * time.Second)
		completed := func() int {
			return int(harness.ResultMetric(t, "caddy_kv_aware_staging_total", "completed"))
		}
		before := completed()
		resetCache(t, s.offloading)
		settle(t)
		cached := 0
		for _, body := range bodies {
			if a := ask(t, g, harness.ChatPath, body); a.cached > a.prompt*9/10 {
				cached++
			}
		}
		harness.Soon(func() bool { return completed()-before >= stagings })
		if n := completed() - before; n < stagings || cached < stagings {
			t.Errorf("%s: %d of %d stagings completed, and %d prompts were found; %v", c.what, n, stagings, cached, stagingResults(t))
		}
		s.seen("staging from disk through "+c.what, "%d of %d completed, %d of %d prompts were then found in LMCache", completed()-before, stagings, cached, stagings)
	}
}

// stagingResults returns the number of stagings by result.
func stagingResults(t *testing.T) map[string]int {
	t.Helper()
	results := make(map[string]int)
	for _, r := range lmc.Results() {
		if n := harness.ResultMetric(t, "caddy_kv_aware_staging_total", r.String()); n > 0 {
			results[r.String()] = int(n)
		}
	}
	return results
}
