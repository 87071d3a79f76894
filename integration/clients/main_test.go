// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"slices"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/counterparts"
	"github.com/bauxite/caddy-kvaware/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// sdks is a process with all SDKs.
type sdks struct {
	node *counterparts.Node
	acts map[string][]string // by client
	jobs int
}

// The tests share one process, because loading the SDKs takes a second.
func TestSDKs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	s := &sdks{node: counterparts.StartNode(t, "testdata", "runner.mjs")}
	s.node.Receive(t, &s.acts)
	t.Run("answers", s.testAnswers)
	t.Run("llama.cpp", s.testLlamaCPP)
	t.Run("own errors", s.testOwnErrors)
	t.Run("overload", s.testOverload)
	t.Run("cut streams", s.testCutStreams)
	t.Run("aborts", s.testAborts)
}

// job is an act of a client at a URL, with what it asks.
type job struct {
	ID     int    `json:"id"`
	Client string `json:"client"`
	Act    string `json:"act"`
	URL    string `json:"url"`
	Ask    string `json:"ask"`
}

// outcome holds what an application gets from an SDK.
type outcome struct {
	Result struct {
		Text      string
		Cached    int // prompt tokens
		Pieces    int // of a stream
		Arguments struct{ Who string }
		Object    any
		Vectors   [][]float64
		Models    []string
		Tokens    int
	}
	Error *failure
}

// failure is an SDK's error.
type failure struct {
	Classes                    []string // its own class, then those above
	Name                       string
	Status                     int
	Type, Code, Param, Message string
	RetryAfter                 string
	Retryable                  *bool // as the AI SDK tells
}

// do runs an act, and returns what becomes of it.
func (s *sdks) do(t *testing.T, client, act, url, ask string) outcome {
	t.Helper()
	s.send(t, client, act, url, ask)
	return s.receive(t)
}

// send begins an act.
func (s *sdks) send(t *testing.T, client, act, url, ask string) {
	t.Helper()
	if !slices.Contains(s.acts[client], act) {
		t.Fatalf("the client %s has no act %s", client, act)
	}
	s.jobs++
	s.node.Send(t, job{s.jobs, client, act, url, ask})
}

// receive waits for what becomes of the last act.
func (s *sdks) receive(t *testing.T) outcome {
	t.Helper()
	var answer struct {
		ID int
		outcome
	}
	s.node.Receive(t, &answer)
	if answer.ID != s.jobs {
		t.Fatalf("the answer is to job %d, not %d", answer.ID, s.jobs)
	}
	return answer.outcome
}

// must is do for an act that succeeds.
func (s *sdks) must(t *testing.T, client, act, url, ask string) outcome {
	t.Helper()
	o := s.do(t, client, act, url, ask)
	if o.Error != nil {
		t.Fatalf("%s %s: %+v", client, act, *o.Error)
	}
	return o
}

// each runs a test for each client that has an act.
func (s *sdks) each(t *testing.T, act string, test func(t *testing.T, client string)) {
	t.Helper()
	n := 0
	for client, acts := range s.acts {
		if slices.Contains(acts, act) {
			n++
			t.Run(client+" "+act, func(t *testing.T) { test(t, client) })
		}
	}
	if n == 0 {
		t.Fatalf("no client has the act %s", act)
	}
}
