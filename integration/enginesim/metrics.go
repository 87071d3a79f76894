// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// metrics answers in Prometheus' text format with vLLM's names. Durations are
// simulated time.
func (c *call) metrics() {
	e := c.engine
	s := e.Stats()
	m := &exposition{labels: fmt.Sprintf(`engine="0",model_name=%q`, e.cfg.models()[0])}
	m.metric("gauge", "vllm:num_requests_running", "Number of requests in model execution batches.", "", float64(s.Running))
	m.metric("gauge", "vllm:num_requests_waiting", "Number of requests waiting to be processed.", "", float64(s.Waiting))
	m.metric("gauge", "vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", "", s.KVUsage)
	m.metric("counter", "vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", "_total", float64(s.PromptTokens))
	m.metric("counter", "vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", "_total", float64(s.CachedTokens))
	e.log.mu.Lock()
	prompt, output, buckets, sum := e.log.prompt, e.log.output, append([]int64(nil), e.log.ttft...), e.log.ttftSum
	e.log.mu.Unlock()
	m.metric("counter", "vllm:prompt_tokens", "Number of prefill tokens processed.", "_total", float64(prompt))
	m.metric("counter", "vllm:generation_tokens", "Number of generation tokens processed.", "_total", float64(output))
	m.histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", buckets, sum.Seconds())
	m.head("gauge", "vllm:cache_config_info", "Information of the LLMEngine CacheConfig")
	fmt.Fprintf(&m.b, "vllm:cache_config_info{block_size=\"%d\",enable_prefix_caching=\"True\",num_gpu_blocks=\"%d\",%s} 1.0\n",
		e.cfg.BlockTokens, e.cfg.CacheBlocks, m.labels)
	c.send(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", []byte(m.b.String()))
}

type exposition struct {
	b      strings.Builder
	labels string
}

func (m *exposition) head(kind, name, help string) {
	fmt.Fprintf(&m.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (m *exposition) metric(kind, name, help, suffix string, value float64) {
	m.head(kind, name+suffix, help)
	fmt.Fprintf(&m.b, "%s%s{%s} %s\n", name, suffix, m.labels, number(value))
}

// histogram writes cumulated buckets; counts has one entry per bucket and one
// for the rest, or is empty.
func (m *exposition) histogram(name, help string, counts []int64, sum float64) {
	m.head("histogram", name, help)
	var total int64
	for i, le := range ttftBuckets {
		if len(counts) > 0 {
			total += counts[i]
		}
		fmt.Fprintf(&m.b, "%s_bucket{%s,le=%q} %s\n", name, m.labels, number(le), number(float64(total)))
	}
	if len(counts) > 0 {
		total += counts[len(ttftBuckets)]
	}
	fmt.Fprintf(&m.b, "%s_bucket{%s,le=\"+Inf\"} %s\n", name, m.labels, number(float64(total)))
	fmt.Fprintf(&m.b, "%s_count{%s} %s\n%s_sum{%s} %s\n", name, m.labels, number(float64(total)), name, m.labels, number(sum))
}

// number writes a value as Python's client does: always with a point.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}
