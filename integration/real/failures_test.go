// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// replay starts a gateway after the events that it needs. It asks for them again.
func (s *suite) replay(t *testing.T) {
	body := chat("tiny", words(rand.New(rand.NewPCG(7, 7)), 600))
	read(t, post(t, s.wide.url(), harness.ChatPath, body))
	g := gateway(t, []*engine{s.wide}, followEvents(), "tokenize inline 2s")
	publisher := harness.Upstreams(t)[s.wide.address()].Events[0]
	if publisher.Replays == 0 || publisher.Malformed != 0 || publisher.UnknownParents != 0 {
		t.Errorf("%+v", publisher)
	}
	exactly(t, g, "a prompt from before the gateway's start", harness.ChatPath, body, 500)
	if publisher = harness.Upstreams(t)[s.wide.address()].Events[0]; publisher.Restarts != 0 {
		t.Errorf("%d restarts of an engine that never restarted", publisher.Restarts)
	}
	s.seen("replay: a gateway that starts after its engines", "asks for all events again, and predicts a prompt from before its start to the token")
}

// reset drops the engine's cache while it has nothing to do: it publishes that only
// with its next step.
func (s *suite) reset(t *testing.T) {
	g := gateway(t, []*engine{s.wide}, followEvents())
	body := chat("tiny", words(rand.New(rand.NewPCG(8, 8)), 600))
	ask(t, g, harness.ChatPath, body)
	exactly(t, g, "before the reset", harness.ChatPath, body, 500)
	if a := post(t, s.wide.url(), "/reset_prefix_cache", ""); a.Status != http.StatusOK {
		t.Fatal(a.Status)
	}
	after := ask(t, g, harness.ChatPath, body)
	s.progress("the first request after the reset: %d predicted, %d cached", after.predicted, after.cached)
	exactly(t, g, "the second request after the reset", harness.ChatPath, body, 500)
	asked := time.Now()
	harness.Await(t, "the gateway sees that the engine is idle", func() bool {
		ago := harness.Upstreams(t)[s.wide.address()].Engine.ReadAgo
		return ago != nil && time.Duration(*ago*float64(time.Second)) < time.Since(asked)
	})
	if a := post(t, s.wide.url(), "/reset_prefix_cache", ""); a.Status != http.StatusOK {
		t.Fatal(a.Status)
	}
	harness.Await(t, "the gateway stops believing in the blocks", func() bool { return harness.Forecast(t, body)[s.wide.address()] == 0 })
	exactly(t, g, "the first request after that", harness.ChatPath, body, 0)
	exactly(t, g, "the second request after that", harness.ChatPath, body, 500)
	s.seen("`/reset_prefix_cache` of an idle engine, which publishes it only with its next step", "seen in its metrics")
}

// crash kills an engine under traffic, and starts it anew with little room. The
// engine for embeddings starts at the same time.
func (s *suite) crash(t *testing.T) {
	g := gateway(t, []*engine{s.wide, s.offloading}, followEvents())
	rnd := rand.New(rand.NewPCG(9, 9))
	var bodies []string
	for range 4 {
		body := chat("tiny", words(rnd, 600))
		for range 2 {
			ask(t, g, harness.ChatPath, body)
		}
		bodies = append(bodies, body)
	}
	long := make(chan harness.Reply, 4)
	for i := range cap(long) { // some are under way at the engine that dies
		go func() {
			long <- g.Post(t, harness.ChatPath, object("model", "tiny", "messages", []map[string]string{{"role": "user", "content": fmt.Sprint(i, vocabulary)}}, "max_tokens", 200, "temperature", 0))
		}()
	}
	s.wide.kill()
	for range cap(long) {
		if a := <-long; a.Status != http.StatusOK {
			t.Errorf("a request at the time of the crash: status %d: %.300s", a.Status, a.Body)
		}
	}
	for i, body := range bodies {
		if a := ask(t, g, harness.ChatPath, body); a.upstream != s.offloading.address() {
			t.Errorf("request %d went to %s", i, a.upstream)
		}
		exactly(t, g, "a prompt that the other engine has now", harness.ChatPath, body, 500)
		body = chat("tiny", words(rnd, 600))
		ask(t, g, harness.ChatPath, body)
		exactly(t, g, "a new prompt, with one engine dead", harness.ChatPath, body, 500)
	}
	s.seen("`kill -9` of one of two engines", "no request is lost, and prompts keep their exact match: the other engine gives the tokens")
	s.restart(t, g, bodies)
}

// smallBlocks is the number of blocks of the engine that evicts. vLLM wants room for
// one request of the greatest length.
const smallBlocks = 320

func (s *suite) restart(t *testing.T, g *harness.Gateway, bodies []string) {
	t.Helper()
	s.progress("starting the killed engine anew, with room for %d tokens, and one for embeddings", smallBlocks*32)
	port := s.wide.port
	s.small = vllm(s.t, "the small engine", port, engineOptions{32, append(generating(port), "--num-gpu-blocks-override", fmt.Sprint(smallBlocks))})
	s.offloading.stop() // two engines at a time
	s.lmcache.server.stop()
	s.lmcache.coordinator.stop()
	other := freePorts(t, 1)
	s.embedding = vllm(s.t, "the engine for embeddings", other, engineOptions{128, []string{"--runner", "pooling", "--convert", "embed"}})
	s.small.awaitUp(t)
	harness.Await(t, "the new engine's events are followed", func() bool {
		g.Post(t, harness.ChatPath, chat("tiny", "Hello.")) // what gets no requests is not watched
		time.Sleep(200 * time.Millisecond)
		u := harness.Upstreams(t)[s.small.address()]
		return len(u.Events) == 1 && u.Events[0].Connected && u.Events[0].Known == "complete" && u.Capacity == smallBlocks*32
	})
	for _, body := range bodies[:2] {
		exactly(t, g, "a prompt that the engine held before the crash", harness.ChatPath, body, 0)
		exactly(t, g, "the same again", harness.ChatPath, body, 500)
	}
	if u := harness.Upstreams(t)[s.small.address()]; u.Events[0].Restarts == 0 {
		t.Errorf("no restart was counted: %+v", u.Events[0])
	}
	s.seen("an engine that restarts with an empty cache of another size", "its blocks are forgotten, its new capacity is read from its metrics")
}

// evict sends twice what the engine can hold.
func (s *suite) evict(t *testing.T) {
	resetCache(t, s.small)
	g := gateway(t, []*engine{s.small}, followEvents())
	f := converse(t, g, 4, 9, nil)
	s.judge(t, fmt.Sprintf("with events under eviction: the same conversations in %d tokens of KV cache", smallBlocks*32), f, mostInEviction)
	if f.cached == 0 {
		t.Error("everything was evicted: this proves nothing")
	}
	// Answers take a part of the room, blocks that are not whole another, and one block
	// is never used: prompts find less than what the engine reports.
	if u := harness.Upstreams(t)[s.small.address()]; u.Capacity < smallBlocks*32*3/4 {
		t.Errorf("the capacity is %d (%s), much less than the engine reports", u.Capacity, u.CapacitySource)
	}
}

// repeatedReports has another client make the engine publish blocks again that it
// holds already, and evicts them.
func (s *suite) repeatedReports(t *testing.T) {
	g := gateway(t, []*engine{s.small}, followEvents())
	rnd := rand.New(rand.NewPCG(10, 10))
	text := words(rnd, 600)
	body := chat("tiny", text)
	for round := range 2 {
		ask(t, g, harness.ChatPath, body)
		exactly(t, g, "before", harness.ChatPath, body, 500)
		for range 3 {
			read(t, post(t, s.small.url(), harness.ChatPath, chat("tiny", text, "vllm_xargs", map[string]any{"kv_cache_report_mode": "full"})))
		}
		exactly(t, g, "published again", harness.ChatPath, body, 500)
		for range 4 { // evicts it
			read(t, post(t, s.small.url(), harness.ChatPath, chat("tiny", words(rnd, 3000))))
		}
		settle(t)
		if held := harness.Forecast(t, body)[s.small.address()]; held != 0 {
			t.Errorf("round %d: %d tokens are believed to be held, which were evicted", round, held)
		}
		a := exactly(t, g, "after the eviction", harness.ChatPath, body, 0)
		if a.cached > 0 {
			t.Errorf("round %d: %d tokens were not evicted: this proves nothing", round, a.cached)
		}
	}
	s.seen("blocks published again and again (`kv_cache_report_mode`, sent past the gateway), then evicted", "predicted to the token")
}
