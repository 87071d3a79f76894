// SPDX-License-Identifier: Apache-2.0

package lmcachesim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

const (
	ms     = time.Millisecond
	tokens = 2048 // eight chunks

	loadedFrom = "/models/m" // the engine's model m, as LMCache knows it
)

func startNode(t *testing.T, address string, cfg lmcachesim.NodeConfig) *lmcachesim.Node {
	t.Helper()
	n, err := lmcachesim.StartNode(address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// prompt returns the tokens of a prompt that shares no prefix with another.
func prompt(number int) []uint32 {
	list := make([]uint32, tokens)
	for i := range list {
		list[i] = uint32(number)<<16 + uint32(i)
	}
	return list
}

// onDisk stores a prompt on a node's disk only.
func onDisk(n *lmcachesim.Node, list []uint32) {
	n.Store(0, n.Chain(loadedFrom, "", list))
	n.EvictMemory()
}

func prefix(number int) lmcache.Prefix {
	return lmcache.Prefix{Model: loadedFrom, Tokens: prompt(number), Key: uint64(number)}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// service returns a Service that stages through the node's own server.
func service(t *testing.T, n *lmcachesim.Node, o lmcache.Options) *lmcache.Service {
	t.Helper()
	base := mustURL(t, n.URL())
	o.Client = lmcache.NewNode(lmcache.NodeOptions{Base: func(string) *url.URL { return base }})
	s := lmcache.NewService(o)
	t.Cleanup(s.Close)
	return s
}

func ended(t *testing.T, st *lmcache.Staging) (lmcache.Result, int) {
	t.Helper()
	select {
	case <-st.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the staging does not end")
	}
	return st.Result()
}

func TestNodeStages(t *testing.T) {
	for _, cfg := range []lmcachesim.NodeConfig{{}, {OlderPaths: true}, {EngineDriven: true}, {ObjectGroups: 3}} {
		cfg.WorldSize, cfg.Speed = 4, 10
		n := startNode(t, "127.0.0.1:0", cfg)
		n.Register(loadedFrom)
		onDisk(n, prompt(1))
		s := service(t, n, lmcache.Options{})
		if r, got := ended(t, s.Stage("any:8000", prefix(1), func() {})); r != lmcache.Completed || got != tokens {
			t.Errorf("%v, %d tokens", r, got)
		}
		if memory, _ := n.Held(loadedFrom, "", prompt(1)); memory != tokens {
			t.Errorf("%d tokens in memory", memory)
		}
		if s.ExpectedTime("any:8000", tokens) <= 0 {
			t.Error("the node has no expected time")
		}
		if r, got := ended(t, s.Stage("any:8000", prefix(2), func() {})); r != lmcache.Partial || got != 0 {
			t.Errorf("a prompt that is not there: %v, %d tokens", r, got)
		}
	}
}

func TestCoordinatorStagesAndLooksUp(t *testing.T) {
	for groups := 1; groups <= 3; groups += 2 {
		t.Run(fmt.Sprint(groups, " object groups"), func(t *testing.T) { stageAndLookUp(t, groups) })
	}
}

func stageAndLookUp(t *testing.T, groups int) {
	cfg := lmcachesim.NodeConfig{Speed: 10, ObjectGroups: groups}
	a, b := startNode(t, "127.0.0.1:0", cfg), startNode(t, "127.0.0.2:0", cfg)
	c, err := lmcachesim.StartCoordinator("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for id, n := range map[string]*lmcachesim.Node{"mp-a": a, "mp-b": b} {
		c.Register(id, n)
		n.Register(loadedFrom)
		n.Register("other")
	}
	onDisk(b, prompt(1))
	s := lmcache.NewService(lmcache.Options{
		Client:    lmcache.NewCoordinator(lmcache.CoordinatorOptions{Base: mustURL(t, c.URL())}),
		LookupTTL: time.Minute,
	})
	t.Cleanup(s.Close)
	upstreams := []string{"127.0.0.1:8000", "127.0.0.2:8000"}
	lookup := func(number int) {
		t.Helper()
		if r := s.StartLookup(prefix(number), upstreams, func() {}); r != lmcache.Submitted {
			t.Fatal(r)
		}
		for range 1000 {
			if _, known := s.LastLookup(uint64(number), upstreams[0]); known {
				return
			}
			time.Sleep(5 * ms)
		}
		t.Fatal("the lookup was never answered")
	}
	lookup(1)
	if h, _ := s.LastLookup(1, upstreams[0]); h.Storage != 0 {
		t.Errorf("a holds %+v", h)
	}
	if h, _ := s.LastLookup(1, upstreams[1]); h.Memory != 0 || h.Storage != tokens {
		t.Errorf("b holds %+v", h)
	}
	if r, got := ended(t, s.Stage(upstreams[1], prefix(1), func() {})); r != lmcache.Completed || got != tokens {
		t.Errorf("%v, %d tokens", r, got)
	}
	if memory, _ := b.Held(loadedFrom, "", prompt(1)); memory != tokens {
		t.Errorf("%d tokens in b's memory", memory)
	}
	onDisk(a, prompt(2))
	a.Store(0, a.Chain(loadedFrom, "", prompt(2)[:512]))
	lookup(2)
	if h, _ := s.LastLookup(2, upstreams[0]); h.Memory != 512 || h.Storage != tokens {
		t.Errorf("a holds %+v", h)
	}
	if r, _ := ended(t, s.Stage("127.0.0.3:8000", prefix(1), func() {})); r != lmcache.Unmapped {
		t.Errorf("an upstream without LMCache: %v", r)
	}
	// The node refuses what its engine has not started. Neither it nor the coordinator
	// is left alone for that.
	unknown := prefix(4)
	unknown.Model = "third"
	for range 4 {
		unknown.Key++
		unknown.Model += "x"
		if r, _ := ended(t, s.Stage(upstreams[0], unknown, func() {})); r != lmcache.NoLayout {
			t.Errorf("a model that the node does not have: %v", r)
		}
	}
	if r, _ := ended(t, s.Stage(upstreams[0], prefix(2), func() {})); r != lmcache.Completed {
		t.Errorf("after that: %v", r)
	}
}

// TestStagingFaults: whatever LMCache does, each staging ends with the right result, its
// tokens are released, and after a few failures the node is left alone.
func TestStagingFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for time-outs")
	}
	for name, c := range map[string]struct {
		fault lmcachesim.Fault
		want  lmcache.Result
		after lmcache.Result // of the fourth
	}{
		"hang":     {lmcachesim.Fault{Kind: lmcachesim.Hang}, lmcache.TimedOut, lmcache.Broken},
		"slow":     {lmcachesim.Fault{Kind: lmcachesim.Delay, Delay: time.Hour}, lmcache.TimedOut, lmcache.Broken},
		"500":      {lmcachesim.Fault{Kind: lmcachesim.Status}, lmcache.Failed, lmcache.Broken},
		"404":      {lmcachesim.Fault{Kind: lmcachesim.Status, Status: 404}, lmcache.Failed, lmcache.Broken},
		"400":      {lmcachesim.Fault{Kind: lmcachesim.Status, Status: 400}, lmcache.Refused, lmcache.Refused},
		"503":      {lmcachesim.Fault{Kind: lmcachesim.Status, Status: 503}, lmcache.NoLayout, lmcache.NoLayout},
		"garbage":  {lmcachesim.Fault{Kind: lmcachesim.Garbage}, lmcache.Refused, lmcache.Broken},
		"huge":     {lmcachesim.Fault{Kind: lmcachesim.Huge}, lmcache.Refused, lmcache.Broken},
		"lie":      {lmcachesim.Fault{Kind: lmcachesim.Lie}, lmcache.Completed, lmcache.Completed},
		"miscount": {lmcachesim.Fault{Kind: lmcachesim.Miscount}, lmcache.Refused, lmcache.Broken},
		"forever":  {lmcachesim.Fault{Kind: lmcachesim.Forever}, lmcache.TimedOut, lmcache.Broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, "127.0.0.1:0", lmcachesim.NodeConfig{Speed: 1000})
			n.Register(loadedFrom)
			onDisk(n, prompt(1))
			n.Fault(c.fault)
			s := service(t, n, lmcache.Options{SubmitTimeout: time.Second, StageTimeout: time.Second})
			var group sync.WaitGroup
			for i := range 4 {
				group.Add(1)
				st := s.Stage("a:8000", lmcache.Prefix{Model: loadedFrom, Tokens: prompt(1), Key: uint64(i)}, group.Done)
				want := c.want
				if i == 3 {
					want = c.after
				}
				if i > 0 && c.fault.Status == 404 {
					want = c.after // without the API it is left alone at once
				}
				if r, _ := ended(t, st); r != want {
					t.Errorf("staging %d: %v, want %v", i, r, want)
				}
			}
			group.Wait()
		})
	}
}

// TestAbsentLMCache: no server listens.
func TestAbsentLMCache(t *testing.T) {
	n := startNode(t, "127.0.0.1:0", lmcachesim.NodeConfig{})
	s := service(t, n, lmcache.Options{})
	n.Close()
	if r, _ := ended(t, s.Stage("a:8000", prefix(1), func() {})); r != lmcache.Failed {
		t.Error(r)
	}
}

// engineWith starts an engine with an LMCache beside it: prefill 2000 tokens a
// second, disk 10 times and DRAM 100 times as fast.
func engineWith(t *testing.T) (*enginesim.Engine, *lmcachesim.Node) {
	t.Helper()
	n := startNode(t, "127.0.0.1:0", lmcachesim.NodeConfig{Sizes: lmcachesim.Sizes{DiskRate: 20000, GPURate: 200000}})
	e, err := enginesim.Start(enginesim.Config{
		Models: []string{"m"}, External: n, PrefillRate: 2000, CacheBlocks: 1024, OutputTokens: 1, MaxBatch: 2, Speed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e, n
}

// complete sends a prompt and returns how many of its tokens were cached.
func complete(ctx context.Context, e *enginesim.Engine, list []uint32) (int, error) {
	body, err := json.Marshal(map[string]any{"model": "m", "prompt": list, "max_tokens": 1})
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL()+"/v1/completions", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var a struct {
		Usage struct {
			Details struct {
				Cached int `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
		} `json:"usage"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&a); err != nil || answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d, %w", answer.StatusCode, err)
	}
	return a.Usage.Details.Cached, nil
}

// newTokens is the number of tokens behind the cached beginning.
const newTokens = 64

// TestStagedPromptsComeFromMemory sends the same prompts twice: a queue behind a long
// one, all with a beginning that is on disk only. The engine loads those that are
// staged while they wait from CPU memory.
func TestStagedPromptsComeFromMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("prompts wait in real time")
	}
	const prompts = 8
	run := func(staged bool) (ttft []time.Duration, fromDisk int, e *enginesim.Engine) {
		e, n := engineWith(t)
		for i := range prompts {
			n.Store(0, n.Chain(loadedFrom, "", prompt(i)))
		}
		n.EvictMemory()
		s := service(t, n, lmcache.Options{})
		var group sync.WaitGroup
		send := func(list []uint32, wantCached int) {
			group.Go(func() {
				if cached, err := complete(t.Context(), e, list); err != nil || cached != wantCached {
					t.Errorf("%d tokens were cached, want %d: %v", cached, wantCached, err)
				}
			})
		}
		send(prompt(99), 0)
		for i := range prompts {
			for e.Stats().Requests <= int64(i) && !t.Failed() {
				time.Sleep(ms) // one after the other, in the same order each time
			}
			if staged {
				s.Stage(e.Addr(), prefix(i), func() {})
			}
			send(append(prompt(i), prompt(100 + i)[:newTokens]...), tokens)
		}
		group.Wait()
		for _, served := range e.Served() {
			if served.CachedTokens > 0 {
				ttft = append(ttft, served.TTFT)
			}
		}
		slices.Sort(ttft)
		return ttft, n.Stats().FromDisk, e
	}
	without, read, _ := run(false)
	with, readStaged, e := run(true)
	if read != prompts*tokens/256 || readStaged >= read {
		t.Errorf("the engine waited for %d chunks from disk with staging, %d without", readStaged, read)
	}
	p50, p95 := prompts/2, prompts-1
	t.Logf("p50 %v with staging, %v without; p95 %v, %v", with[p50], without[p50], with[p95], without[p95])
	answer, err := http.Get(e.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var page bytes.Buffer
	if _, err := page.ReadFrom(answer.Body); err != nil || !strings.Contains(page.String(), fmt.Sprintf(`vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} %d.0`, prompts*tokens)) {
		t.Errorf("the metrics do not count the hits of the external tier: %v", err)
	}
}

// TestWriteThrough: LMCache holds in both tiers what the engine has computed, and the
// engine finds it there when its GPU has evicted it.
func TestWriteThrough(t *testing.T) {
	e, n := engineWith(t)
	ask := func() int {
		t.Helper()
		cached, err := complete(t.Context(), e, prompt(1))
		if err != nil {
			t.Fatal(err)
		}
		return cached
	}
	if got := ask(); got != 0 {
		t.Errorf("%d tokens cached at first", got)
	}
	if memory, all := n.Held(loadedFrom, "", prompt(1)); memory != tokens || all != tokens {
		t.Errorf("%d tokens in memory, %d in all", memory, all)
	}
	e.Reset() // the GPU's cache only
	if got := ask(); got != tokens-16 {
		t.Errorf("%d tokens cached after the GPU was emptied", got)
	}
	if s := n.Stats(); s.Loads != 1 || s.Loaded != 8 || s.OnDisk != 8 {
		t.Errorf("stats %+v", s)
	}
}
