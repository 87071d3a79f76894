// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// metrics answers in Prometheus' text format with vLLM's names, one series for
// each rank. Durations are simulated time.
func (c *call) metrics() {
	e := c.engine
	var m exposition
	for _, r := range e.ranks {
		s := series{labels: fmt.Sprintf(`engine="%d",model_name=%q`, r.id, e.cfg.models()[0]), rankCounts: e.log.rankCounts(r.id)}
		e.mu.Lock()
		s.Stats.add(r.sched)
		e.mu.Unlock()
		m.ranks = append(m.ranks, s)
	}
	m.metric("gauge", "vllm:num_requests_running", "Number of requests in model execution batches.", "", func(s *series) float64 { return float64(s.Running) })
	m.metric("gauge", "vllm:num_requests_waiting", "Number of requests waiting to be processed.", "", func(s *series) float64 { return float64(s.Waiting) })
	m.metric("gauge", "vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", "", func(s *series) float64 { return s.KVUsage })
	m.metric("counter", "vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", "_total", func(s *series) float64 { return float64(s.PromptTokens) })
	m.metric("counter", "vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", "_total", func(s *series) float64 { return float64(s.CachedTokens) })
	m.external(e.cfg.External)
	m.metric("counter", "vllm:prompt_tokens", "Number of prefill tokens processed.", "_total", func(s *series) float64 { return float64(s.prompt) })
	m.metric("counter", "vllm:generation_tokens", "Number of generation tokens processed.", "_total", func(s *series) float64 { return float64(s.output) })
	m.histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.")
	m.head("gauge", "vllm:cache_config_info", "Information of the LLMEngine CacheConfig")
	for i := range m.ranks {
		fmt.Fprintf(&m.b, "vllm:cache_config_info{block_size=\"%d\",enable_prefix_caching=\"True\",num_gpu_blocks=\"%d\",%s} 1.0\n",
			e.cfg.BlockTokens, e.cfg.CacheBlocks, m.ranks[i].labels)
	}
	c.send(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", []byte(m.b.String()))
}

// series holds the metrics of one rank.
type series struct {
	Stats
	rankCounts
	labels string
}

type exposition struct {
	b     strings.Builder
	ranks []series
}

func (m *exposition) head(kind, name, help string) {
	fmt.Fprintf(&m.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (m *exposition) metric(kind, name, help, suffix string, value func(*series) float64) {
	m.head(kind, name+suffix, help)
	for i := range m.ranks {
		s := &m.ranks[i]
		fmt.Fprintf(&m.b, "%s%s{%s} %s\n", name, suffix, s.labels, number(value(s)))
	}
}

// histogram writes the cumulative buckets of the time to first token.
func (m *exposition) histogram(name, help string) {
	m.head("histogram", name, help)
	for i := range m.ranks {
		s := &m.ranks[i]
		counts := s.ttft
		if counts == nil {
			counts = make([]int64, len(ttftBuckets)+1)
		}
		var total int64
		for i, le := range ttftBuckets {
			total += counts[i]
			fmt.Fprintf(&m.b, "%s_bucket{%s,le=%q} %s\n", name, s.labels, number(le), number(float64(total)))
		}
		total += counts[len(ttftBuckets)]
		fmt.Fprintf(&m.b, "%s_bucket{%s,le=\"+Inf\"} %s\n", name, s.labels, number(float64(total)))
		fmt.Fprintf(&m.b, "%s_count{%s} %s\n%s_sum{%s} %s\n", name, s.labels, number(float64(total)), name, s.labels, number(s.ttftSum.Seconds()))
	}
}

// number formats a value like Python's client: always with a point.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}
