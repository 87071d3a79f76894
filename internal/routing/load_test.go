// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"
)

func TestAQueueThatOthersSentCounts(t *testing.T) {
	rt, c := newTestRouter()
	two := []Candidate{{Address: "one"}, {Address: "two"}}
	teach := rt.newTestRequest("teach me")
	teach.Route(two[:1], false)
	c.add(time.Duration(teach.Tokens()) * startCost)
	teach.Confirm()
	teach.FirstToken()
	teach.End()

	pick := func() int {
		r := rt.newTestRequest("teach me") // so one holds it
		defer r.End()
		return r.Route(two, false).Pick
	}
	if pick() != 0 {
		t.Fatal("the idle holder was not picked")
	}
	rt.SetLoad("one", EngineLoad{Waiting: 3, Running: 8})
	if pick() != 1 {
		t.Fatal("a queue of three prompts counts as nothing")
	}
	c.add(loadTTL + time.Second)
	if pick() != 0 {
		t.Fatal("an old load still counts")
	}
	rt.SetLoad("one", EngineLoad{Waiting: -3, Running: -8})
	if pick() != 0 {
		t.Fatal("a negative load counts")
	}
}

// Without streamed answers the gateway never learns how long prompts take; a queue
// of others counts all the same.
func TestAQueueCountsBeforeAnythingIsLearned(t *testing.T) {
	rt, _ := newTestRouter()
	r := rt.newTestRequest("abcd")
	r.Route(a("one"), false)
	r.Confirm()
	r.End()
	rt.upstream("two")
	rt.SetLoad("one", EngineLoad{Waiting: 4, Running: 4})
	if d := rt.newTestRequest("abcde").Route([]Candidate{{Address: "one"}, {Address: "two"}}, false); d.Pick != 1 {
		t.Fatal("the holder was picked in spite of its queue")
	}
}

func TestOwnRequestsAreNotCountedTwice(t *testing.T) {
	rt, _ := newTestRouter()
	r := rt.newTestRequest("abcd")
	r.Route(a("one"), false)
	alone := rt.Upstreams()[0].Wait
	rt.SetLoad("one", EngineLoad{Waiting: 1})
	probe := rt.newTestRequest("xyz")
	probe.evaluate(a("one"))
	if got := rt.scratch.scored[0]; got.Wait != alone || got.Queued != 1 {
		t.Fatalf("wait %v with %d queued, want %v and 1", got.Wait, got.Queued, alone)
	}
}

func TestNothingIsLearnedWhileOthersQueue(t *testing.T) {
	rt, c := newTestRouter()
	r := rt.newTestRequest("abcd")
	r.Route(a("one"), false)
	c.add(10 * time.Second)
	rt.SetLoad("one", EngineLoad{Waiting: 5})
	r.Confirm()
	r.FirstToken()
	r.End()
	if got := rt.Upstreams()[0].PerToken; got != startCost {
		t.Fatalf("learned %v a token from a wait in others' queue", got)
	}
}

// Own requests that waited when the engine reported its load are not taken for
// others' when they have ended.
func TestEndedRequestsAreNotTakenForOthers(t *testing.T) {
	rt, c := newTestRouter()
	var ours []*Request
	for range 5 {
		r := rt.newTestRequest("abcd")
		r.Route(a("one"), false)
		ours = append(ours, r)
	}
	rt.SetLoad("one", EngineLoad{Running: 2, Waiting: 4}) // ours, and one of another
	for _, r := range ours {
		c.add(time.Second)
		r.Confirm()
		r.FirstToken()
		r.End()
	}
	if waiting, inFlight := rt.upstreams["one"].foreignRequests(c.now()); waiting != 0 || inFlight != 1 {
		t.Fatalf("%d waiting and %d in flight, want 0 and 1", waiting, inFlight)
	}
	rt.SetLoad("one", EngineLoad{Running: 2, Waiting: 4})
	if waiting, inFlight := rt.upstreams["one"].foreignRequests(c.now()); waiting != 4 || inFlight != 6 {
		t.Fatalf("%d waiting and %d in flight, want 4 and 6", waiting, inFlight)
	}
}
