// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Pages of engines, shortened to the series that are read and some others.
const (
	vllmPage = `# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 9731.0
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79462107543e+09
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama"} 3.0
vllm:num_requests_running{engine="1",model_name="llama"} 4.0
vllm:num_requests_waiting{engine="0",model_name="llama"} 1.0
vllm:num_requests_waiting{engine="1",model_name="llama"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="llama",reason="capacity"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="llama"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="llama"} 0.75
vllm:prefix_cache_queries_total{engine="0",model_name="llama"} 1.234567e+06
vllm:prefix_cache_queries_total{engine="1",model_name="llama"} 3.0
vllm:prefix_cache_queries_created{engine="0",model_name="llama"} 1.79462107543e+09
vllm:prefix_cache_hits_total{engine="0",model_name="llama"} 7.0
vllm:prompt_tokens_total{engine="0",model_name="llama"} 8.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="1000",sliding_window="None"} 1.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="1",num_gpu_blocks="2000",sliding_window="None"} 1.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="llama"} 0.0
`
	// As recorded from vLLM 0.32 with LMCache 0.5.6; older versions have only these lines.
	olderLMCachePage = `vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 6198.0
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 0.0
vllm:external_prefix_cache_queries_total{engine="0",model_name="tiny"} 6198.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="tiny"} 3008.0
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 6198.0
`
	lmcachePage = olderLMCachePage + `vllm:prompt_tokens_by_source_total{engine="0",model_name="tiny",source="local_compute"} 3190.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="tiny",source="local_cache_hit"} 0.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="tiny",source="external_kv_transfer"} 3008.0
vllm:prompt_tokens_by_source_created{engine="0",model_name="tiny",source="local_compute"} 1.7960903407462518e+09
vllm:prompt_tokens_cached_total{engine="0",model_name="tiny"} 3008.0
vllm:prompt_tokens_cached_by_source_total{engine="0",model_name="tiny",source="device"} 0.0
vllm:prompt_tokens_cached_by_source_total{engine="0",model_name="tiny",source="external_unspecified"} 3008.0
`
	sglangPage = `sglang:num_running_reqs{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 5.0
sglang:num_running_reqs{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="1"} 5.0
sglang:num_queue_reqs{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 2.0
sglang:token_usage{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 0.5
sglang:max_total_num_tokens{engine_type="unified",model_name="qwen",tp_rank="0"} 471258.0
sglang:cached_tokens_total{cache_source="device",model_name="qwen"} 100.0
sglang:cached_tokens_total{cache_source="host",model_name="qwen"} 50.0
sglang:cache_hit_rate{model_name="qwen"} NaN
`
	llamaPage = `# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 6886
llamacpp:prompt_tokens_cached_total 4630
llamacpp:tokens_predicted_total 3469
llamacpp:prompt_tokens_seconds 2.37151
llamacpp:kv_cache_usage_ratio 0.1
llamacpp:requests_processing 1
llamacpp:requests_deferred 2
`
)

// resetPage has the lines by which vLLM 0.32 counts requests, of which two have reset
// its prefix cache.
const resetPage = `# TYPE http_requests_total counter
http_requests_total{handler="/v1/models",method="GET",status="2xx"} 7.0
http_requests_total{handler="/reset_prefix_cache",method="POST",status="2xx"} 2.0
http_requests_total{handler="/reset_prefix_cache",method="POST",status="5xx"} 9.0
http_requests_total{handler="/reset_mm_cache",method="POST",status="2xx"} 3.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.0
`

// sleepPage holds the lines by which vLLM 0.32 reports its sleep state.
func sleepPage(awake, offloaded, discarded int) string {
	return fmt.Sprintf(`vllm:cache_config_info{block_size="16",num_gpu_blocks="0"} 1.0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="awake"} %d.0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="weights_offloaded"} %d.0
vllm:engine_sleep_state{engine="0",model_name="m",sleep_state="discard_all"} %d.0
`, awake, offloaded, discarded)
}

func TestReadMetrics(t *testing.T) {
	for _, c := range []struct {
		name, page string
		want       Reading
	}{
		{"vllm", vllmPage, Reading{
			Engine: VLLM, HasLoad: true, Running: 7, Waiting: 1, Usage: 0.5, Capacity: 48000, Started: 1.79462107543e+09,
			totals: [4]float64{8, -1, 1234570, 7},
		}},
		{"sglang", sglangPage, Reading{
			Engine: SGLang, HasLoad: true, Running: 5, Waiting: 2, Usage: 0.5, Capacity: 471258,
			totals: [4]float64{-1, -1, -1, 150},
		}},
		{"vllm with LMCache", lmcachePage, Reading{
			Engine: VLLM, Usage: -1, Prompts: Sources{Computed: 3190, External: 3008},
			totals: [4]float64{6198, -1, 6198, 0},
		}},
		{"older vllm with LMCache", olderLMCachePage, Reading{
			Engine: VLLM, Usage: -1, Prompts: Sources{Computed: 3190, External: 3008},
			totals: [4]float64{6198, -1, 6198, 0},
		}},
		{"a source of tomorrow", `vllm:prompt_tokens_by_source_total{source="moon"} 9.0
vllm:prompt_tokens_by_source_total{source="local_compute"} 2.0
vllm:prompt_tokens_by_source_total{source="local_cache_hit"} 1.0
`, Reading{Engine: VLLM, Usage: -1, Prompts: Sources{Computed: 2, GPU: 1}, totals: [4]float64{-1, -1, -1, -1}}},
		{"llama.cpp", llamaPage, Reading{
			Engine: LlamaCPP, HasLoad: true, Running: 1, Waiting: 2, Usage: 0.1,
			totals: [4]float64{6886, 3469, -1, 4630},
		}},
		{"old vllm", "vllm:gpu_cache_usage_perc 0.5\nvllm:num_requests_running 1\n", Reading{
			Engine: VLLM, Usage: 0.5, totals: [4]float64{-1, -1, -1, -1},
		}},
		{"a vllm that was reset", resetPage, Reading{Engine: VLLM, Usage: 0, totals: [4]float64{-1, -1, -1, -1}, resets: 2}},
		{"a sleeping vllm", sleepPage(0, 1, 0), Reading{Engine: VLLM, Usage: -1, Asleep: true, totals: [4]float64{-1, -1, -1, -1}}},
		{"one in deep sleep", sleepPage(0, 0, 1), Reading{Engine: VLLM, Usage: -1, Asleep: true, totals: [4]float64{-1, -1, -1, -1}}},
		{"one that pauses", sleepPage(0, 0, 0), Reading{Engine: VLLM, Usage: -1, totals: [4]float64{-1, -1, -1, -1}}},
		{"one that is awake", sleepPage(1, 0, 0), Reading{Engine: VLLM, Usage: -1, totals: [4]float64{-1, -1, -1, -1}}},
		{"sglang pages", `sglang:cache_config_info{page_size="64",num_pages="100"} 1` + "\nsglang:max_total_num_tokens 9\n", Reading{
			Engine: SGLang, Usage: -1, Capacity: 6400, totals: [4]float64{-1, -1, -1, -1},
		}},
		{"vllm tokens", `vllm:cache_config_info{block_size="16",kv_cache_size_tokens="1000000",num_gpu_blocks="7"} 1` + "\n", Reading{
			Engine: VLLM, Usage: -1, Capacity: 1000000, totals: [4]float64{-1, -1, -1, -1},
		}},
		{"nonsense is not told", `vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1` + `
vllm:cache_config_info{engine="1",block_size="-16",num_gpu_blocks="10"} 1
vllm:cache_config_info{engine="2",block_size="16",num_gpu_blocks="10000000000"} 1
vllm:num_requests_running -1
vllm:num_requests_waiting NaN
vllm:kv_cache_usage_perc 7
vllm:prompt_tokens_total +Inf
process_start_time_seconds -5
`, Reading{Engine: VLLM, Usage: -1, totals: [4]float64{-1, -1, -1, -1}}},
		{"only the first engine's", "vllm:prompt_tokens_total 1\nsglang:num_running_reqs 1\nsglang:num_queue_reqs 1\n", Reading{
			Engine: VLLM, Usage: -1, totals: [4]float64{1, -1, -1, -1},
		}},
		{"models add up", `vllm:num_requests_running{model_name="a"} 1
vllm:num_requests_running{model_name="b"} 2
vllm:num_requests_waiting{model_name="a"} 3
vllm:num_requests_waiting{model_name="b"} 4
`, Reading{Engine: VLLM, HasLoad: true, Running: 3, Waiting: 7, Usage: -1, totals: [4]float64{-1, -1, -1, -1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadMetrics(strings.NewReader(c.page))
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestReadMetricsErrors(t *testing.T) {
	many := new(strings.Builder)
	for i := range maxSeries + 1 {
		fmt.Fprintf(many, "vllm:num_requests_running{engine=\"%d\"} 1\n", i)
	}
	for _, c := range []struct {
		name, page string
		want       error
	}{
		{"empty", "", ErrNoEngine},
		{"html", "<html>not found</html>", ErrNoEngine},
		{"another exporter", "process_start_time_seconds 5\ngo_goroutines 7\n", ErrNoEngine},
		{"broken", "vllm:num_requests_running{ 1\n", ErrSyntax},
		{"too many series", many.String(), ErrTooLarge},
	} {
		if got, err := ReadMetrics(strings.NewReader(c.page)); !errors.Is(err, c.want) || got != (Reading{}) {
			t.Errorf("%s: %+v, %v, want %v", c.name, got, err, c.want)
		}
	}
}

func BenchmarkReadMetrics(b *testing.B) {
	var page strings.Builder
	page.WriteString(vllmPage)
	for i := range 3000 { // histograms, as a busy engine has
		fmt.Fprintf(&page, "vllm:request_prefill_time_seconds_bucket{engine=\"%d\",le=\"%d.0\",model_name=\"llama\"} %d.0\n", i%4, i, i)
	}
	b.SetBytes(int64(page.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadMetrics(strings.NewReader(page.String())); err != nil {
			b.Fatal(err)
		}
	}
}
