// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// suite is one run. Two engines run at a time, and four are started in all.
type suite struct {
	t *testing.T
	report

	wide       *engine // blocks of 32, 512k tokens, a LoRA adapter
	offloading *engine // blocks of 64, LMCache
	small      *engine // wide again, after a crash, with room for few prompts
	embedding  *engine

	lmcache *lmcache
	partial bool // some checks were left out, by -run
}

// TestReal runs every check. Those of one phase share its engines.
func TestReal(t *testing.T) {
	if installed == "" {
		t.Fatal("CADDY_KVAWARE_REAL is not set: run `make real`")
	}
	s := &suite{t: t, report: report{began: time.Now()}}
	s.startFirst()
	s.check("answers", s.answers)
	s.check("recording", s.record)
	s.check("recorded answers", s.recordAnswers)
	s.check("prediction with events", s.predictWithEvents)
	s.check("prediction from own history", s.predictFromHistory)
	s.check("every API with events", s.everyAPI)
	s.check("spaces", s.spaces)
	s.check("names", s.names)
	s.check("what changes the prompt", s.promptChanges)
	s.check("warnings", s.warnings)
	s.check("replay", s.replay)
	s.check("reset", s.reset)
	s.check("steering", s.steering)
	s.check("one host", s.oneHost)
	s.check("load clients", s.measureLoad)
	s.check("staging", s.staging)
	s.check("prediction with LMCache", s.predictWithLMCache)
	s.check("crash", s.crash)
	s.check("eviction", s.evict)
	s.check("repeated reports", s.repeatedReports)
	s.check("embeddings", s.embeddings)
	if !t.Failed() && !s.partial {
		s.write(t)
	}
}

// check runs one topic. The next ones run even if it fails.
func (s *suite) check(name string, topic func(t *testing.T)) {
	s.progress("%s ...", name)
	ran := false
	if !s.t.Run(name, func(t *testing.T) { ran = true; topic(t) }) {
		s.progress("%s: FAILED", name)
	}
	s.partial = s.partial || !ran
}

// startFirst starts LMCache and the engines of the first phase.
func (s *suite) startFirst() {
	s.progress("starting two vLLM engines, LMCache's server and its coordinator: this takes two minutes")
	s.lmcache = startLMCache(s.t, freePorts(s.t, 3))
	port := freePorts(s.t, 2)
	s.wide = vllm(s.t, "the engine with blocks of 32", port, engineOptions{32, append(generating(port), adapters()...)})
	s.lmcache.awaitUp(s.t)
	s.keepAnswer(s.t, lmcacheRecording+"status.no_engine.json", get(s.t, s.lmcache.url()+"/status"))
	s.offloading = vllm(s.t, "the engine with LMCache", port+1, engineOptions{64, append(generating(port+1), s.lmcache.connector()...)})
	s.wide.awaitUp(s.t)
	s.offloading.awaitUp(s.t)
	s.versions = []string{"vLLM " + s.version(s.wide.url()+"/version"), "LMCache " + s.version(s.lmcache.url()+"/lmc_version"), runtime.Version()}
	s.progress("the engines are up")
}

// version reads a version, as JSON object or as plain text.
func (s *suite) version(url string) string {
	s.t.Helper()
	body := get(s.t, url)
	var v struct{ Version string }
	if json.Unmarshal([]byte(body), &v) == nil && v.Version != "" {
		return v.Version
	}
	var text string
	if json.Unmarshal([]byte(body), &text) == nil {
		return text
	}
	return body
}
