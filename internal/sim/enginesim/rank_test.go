// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// pinned posts a completion to one rank.
func pinned(t *testing.T, e *Engine, rank, prompt string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, e.URL()+"/v1/completions", strings.NewReader(`{"prompt":"`+prompt+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	if rank != "" {
		r.Header.Set("X-data-parallel-rank", rank)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestRanksTakeTurnsAndHaveCachesOfTheirOwn(t *testing.T) {
	e := start(t, Config{Ranks: 3})
	prompt := strings.Repeat("four", 100)
	for _, rank := range []string{"", "", "", "1", "1", "2"} {
		if status := pinned(t, e, rank, prompt); status != http.StatusOK {
			t.Fatalf("rank %q: %d", rank, status)
		}
	}
	var ranks []int
	var cached []int
	for _, s := range e.Served() {
		ranks, cached = append(ranks, s.Rank), append(cached, s.CachedTokens)
	}
	for i, want := range []int{0, 1, 2, 1, 1, 2} {
		if ranks[i] != want {
			t.Fatalf("ranks %v", ranks)
		}
		if hit := cached[i] > 0; hit != (i >= 3) {
			t.Errorf("request %d on rank %d: %d cached", i, ranks[i], cached[i])
		}
	}
	for _, rank := range []string{"3", "-1", "x"} {
		if status := pinned(t, e, rank, prompt); status != http.StatusBadRequest {
			t.Errorf("rank %q: %d", rank, status)
		}
	}
}

func TestMetricsOfEachRank(t *testing.T) {
	e := start(t, Config{Ranks: 2, CacheBlocks: 500, OutputTokens: 7})
	for range 2 {
		pinned(t, e, "1", strings.Repeat("four", 100))
	}
	_, text := get(t, e, "/metrics")
	for _, want := range []string{
		`vllm:cache_config_info{block_size="16",enable_prefix_caching="True",num_gpu_blocks="500",engine="0",model_name="simulated"} 1.0`,
		`vllm:cache_config_info{block_size="16",enable_prefix_caching="True",num_gpu_blocks="500",engine="1",model_name="simulated"} 1.0`,
		`vllm:prefix_cache_queries_total{engine="0",model_name="simulated"} 0.0`,
		`vllm:prefix_cache_queries_total{engine="1",model_name="simulated"} 200.0`,
		`vllm:prefix_cache_hits_total{engine="1",model_name="simulated"} 96.0`,
		`vllm:generation_tokens_total{engine="0",model_name="simulated"} 0.0`,
		`vllm:generation_tokens_total{engine="1",model_name="simulated"} 14.0`,
		`vllm:time_to_first_token_seconds_count{engine="0",model_name="simulated"} 0.0`,
		`vllm:time_to_first_token_seconds_count{engine="1",model_name="simulated"} 2.0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "# TYPE vllm:num_requests_running gauge"); n != 1 {
		t.Errorf("%d heads for one metric", n)
	}
}

// TestRanksRunAtTheSameTime checks that two ranks serve two prompts in the time of one.
func TestRanksRunAtTheSameTime(t *testing.T) {
	e := start(t, Config{Ranks: 2, PrefillRate: 1000, OutputTokens: 1, Speed: 10})
	done := make(chan int, 2)
	for range 2 {
		go func() { done <- pinned(t, e, "", strings.Repeat("four", 500)) }()
	}
	for range 2 {
		if status := <-done; status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
	}
	for _, s := range e.Served() {
		if s.TTFT != 500*time.Millisecond {
			t.Errorf("rank %d: %v", s.Rank, s.TTFT)
		}
	}
}

// TestACrashEndsRequests checks that a crash ends all requests under way and that
// nothing of them is cached.
func TestACrashEndsRequests(t *testing.T) {
	e := start(t, Config{Ranks: 2, PrefillRate: 1, Speed: 1})
	res, err := client(t).Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody(strings.Repeat("four", 100), `,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	fault(t, e, Fault{Kind: Crash})
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.ranks {
		if _, busy := r.sched.Next(); busy || len(r.sched.cache.byHash) != 0 {
			t.Errorf("rank %d: busy %v, %d blocks cached", r.id, busy, len(r.sched.cache.byHash))
		}
		if _, err := validate(r.sched.cache); err != nil {
			t.Error(err)
		}
	}
}
