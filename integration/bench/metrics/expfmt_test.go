// SPDX-License-Identifier: Apache-2.0

// Package metrics compares the reader of engine metrics with Prometheus' own
// parser, expfmt, on a page as long as a real vLLM's: same reading, and what each
// costs. It is a module of its own, so that the gateway does not depend on expfmt
// directly.
package metrics

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/bauxite/caddy-kvaware/internal/engine/metrics"
)

const modelName = "meta-llama/Llama-3.3-70B-Instruct"

var (
	gauges     = []string{"num_requests_running", "num_requests_waiting", "engine_sleep_state", "kv_cache_usage_perc"}
	counters   = []string{"prefix_cache_queries", "prefix_cache_hits", "external_prefix_cache_queries", "external_prefix_cache_hits", "mm_cache_queries", "mm_cache_hits", "num_preemptions", "prompt_tokens", "generation_tokens"}
	histograms = []string{"request_prompt_tokens", "request_generation_tokens", "iteration_tokens_total", "request_max_num_generation_tokens", "request_params_n", "request_params_max_tokens", "time_to_first_token_seconds", "inter_token_latency_seconds", "request_time_per_output_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds", "request_inference_time_seconds", "request_prefill_time_seconds", "request_decode_time_seconds", "request_prefill_kv_computed_tokens"}
)

// vllmPage returns what vLLM 0.11 answers to GET /metrics, by the names and
// shapes of its series, for so many data-parallel ranks.
func vllmPage(ranks int) string {
	var b strings.Builder
	head := func(name, kind string) {
		fmt.Fprintf(&b, "# HELP %s Some words that say what the numbers mean.\n# TYPE %s %s\n", name, name, kind)
	}
	sample := func(name string, rank int, labels string, value float64) {
		fmt.Fprintf(&b, "%s{engine=\"%d\",%smodel_name=%q} %v\n", name, rank, labels, modelName, value)
	}
	all := func(name, kind string, value float64) {
		head(name, kind)
		for rank := range ranks {
			sample(name, rank, "", value)
		}
	}
	head("process_start_time_seconds", "gauge")
	fmt.Fprintln(&b, "process_start_time_seconds 1.79462107543e+09")
	for i, name := range gauges {
		all("vllm:"+name, "gauge", float64(i)/4)
	}
	for i, name := range counters {
		all("vllm:"+name+"_total", "counter", float64(i)*1e6)
		all("vllm:"+name+"_created", "gauge", 1.79462107543e+09)
	}
	head("vllm:cache_config_info", "gauge")
	for rank := range ranks {
		sample("vllm:cache_config_info", rank, `block_size="16",cache_dtype="auto",calculate_kv_scales="False",cpu_offload_gb="0",`+
			`enable_prefix_caching="True",gpu_memory_utilization="0.9",is_attention_free="False",kv_cache_memory_bytes="None",`+
			`mamba_block_size="None",num_cpu_blocks="None",num_gpu_blocks="27000",num_gpu_blocks_override="None",`+
			`prefix_caching_hash_algo="sha256",sliding_window="None",swap_space="4",`, 1)
	}
	for _, name := range histograms {
		name = "vllm:" + name
		head(name, "histogram")
		for rank := range ranks {
			for i := range 20 {
				sample(name+"_bucket", rank, fmt.Sprintf("le=\"%d.0\",", 1<<i), float64(1000*i))
			}
			sample(name+"_bucket", rank, `le="+Inf",`, 30000)
			sample(name+"_count", rank, "", 30000)
			sample(name+"_sum", rank, "", 1234567)
		}
	}
	return b.String()
}

func parse(page string) ([]byte, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// A page that expfmt has read and written again gives the same reading.
func TestSameReading(t *testing.T) {
	page := vllmPage(4)
	again, err := parse(page)
	if err != nil {
		t.Fatal(err)
	}
	want, err := metrics.ReadMetrics(strings.NewReader(page))
	if err != nil || want.Capacity != 4*27000*16 || !want.HasLoad {
		t.Fatalf("reading %+v, %v", want, err)
	}
	if got, err := metrics.ReadMetrics(bytes.NewReader(again)); got != want || err != nil {
		t.Errorf("reading %+v, %v, want %+v", got, err, want)
	}
}

// One bad line in a series that the gateway does not use fails the whole page in
// expfmt, and costs nothing here.
func TestOneBadLine(t *testing.T) {
	page := vllmPage(1) + "vllm:time_to_first_token_seconds_bucket{le= 1\n"
	if _, err := parse(page); err == nil {
		t.Error("expfmt reads the page now: think again about using it")
	}
	if _, err := metrics.ReadMetrics(strings.NewReader(page)); err != nil {
		t.Error(err)
	}
}

func BenchmarkRead(b *testing.B) {
	for _, ranks := range []int{1, 8} {
		page := vllmPage(ranks)
		run := func(name string, read func() error) {
			b.Run(fmt.Sprintf("ranks=%d/%s", ranks, name), func(b *testing.B) {
				b.SetBytes(int64(len(page)))
				b.ReportAllocs()
				for b.Loop() {
					if err := read(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("ours", func() error {
			_, err := metrics.ReadMetrics(strings.NewReader(page))
			return err
		})
		run("expfmt", func() error {
			parser := expfmt.NewTextParser(model.LegacyValidation)
			_, err := parser.TextToMetricFamilies(strings.NewReader(page))
			return err
		})
		run("expfmt for wanted lines", func() error {
			var kept strings.Builder
			for line := range strings.Lines(page) {
				if wanted(line) {
					kept.WriteString(line)
				}
			}
			parser := expfmt.NewTextParser(model.LegacyValidation)
			_, err := parser.TextToMetricFamilies(strings.NewReader(kept.String()))
			return err
		})
	}
}

// wantedNames are the metrics on the page that the gateway uses.
var wantedNames = []string{
	"process_start_time_seconds", "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:cache_config_info",
	"vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total", "vllm:prompt_tokens_total", "vllm:generation_tokens_total",
}

func wanted(line string) bool {
	name := line[:max(0, strings.IndexAny(line, "{ "))]
	return slices.Contains(wantedNames, name)
}
