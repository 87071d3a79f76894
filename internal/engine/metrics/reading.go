// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"math"
	"strconv"
)

// Kind is the name of an inference server.
type Kind string

// The engines whose metrics are known.
const (
	VLLM     Kind = "vllm"
	SGLang   Kind = "sglang"
	LlamaCPP Kind = "llama.cpp"
)

// Reading holds one page of an engine's metrics.
type Reading struct {
	Engine   Kind
	HasLoad  bool    // Running and Waiting are both reported
	Running  int     // requests in progress
	Waiting  int     // requests in the engine's queue
	Usage    float64 // share of the KV cache in use, 0 to 1; -1: unknown
	Capacity int64   // of the KV cache, in tokens; 0: unknown
	Asleep   bool    // it sleeps and has discarded its KV cache
	Started  float64 // start of the process, in seconds of Unix time; 0: unknown
	Prompts  Sources

	totals [numTotals]float64 // counters since the start; -1: unknown
	resets float64            // requests to reset the prefix cache that were answered
}

// idle reports whether the engine has no requests.
func (r *Reading) idle() bool { return r.HasLoad && r.Running == 0 && r.Waiting == 0 }

// Sources counts the prompt tokens of all clients since the engine's start, by where
// their KV blocks came from. Before any prompt, and where an engine does not tell them
// apart, all are 0.
type Sources struct {
	Computed float64
	GPU      float64 // cached on the GPU
	External float64 // loaded from outside the GPU, such as by LMCache
}

// ErrNoEngine: the page has no metrics of a known engine.
var ErrNoEngine = errors.New("there are no metrics of a known engine")

// maxSeries bounds the distinct series of one page.
const maxSeries = 1024

// quantity is the meaning of a series.
type quantity uint8

// The counters come first: they index Reading.totals.
const (
	promptTokens quantity = iota
	outputTokens
	cacheQueries
	cacheHits
	running
	waiting
	usage
	cacheConfig
	cacheTokens
	asleep
	bySource
	fromCompute
	fromGPU
	fromOutside
	externalHits
	resets
	started // the last

	numTotals = cacheHits + 1
)

// series lists the metrics that are read.
var series = map[string]struct {
	kind   Kind
	figure quantity
}{
	"vllm:num_requests_running":             {VLLM, running},
	"vllm:num_requests_waiting":             {VLLM, waiting},
	"vllm:kv_cache_usage_perc":              {VLLM, usage},
	"vllm:gpu_cache_usage_perc":             {VLLM, usage}, // before v0.10
	"vllm:cache_config_info":                {VLLM, cacheConfig},
	"vllm:engine_sleep_state":               {VLLM, asleep},
	"vllm:prompt_tokens_total":              {VLLM, promptTokens},
	"vllm:generation_tokens_total":          {VLLM, outputTokens},
	"vllm:prompt_tokens_by_source_total":    {VLLM, bySource},
	"vllm:external_prefix_cache_hits_total": {VLLM, externalHits},
	"vllm:prefix_cache_queries_total":       {VLLM, cacheQueries},
	"vllm:prefix_cache_hits_total":          {VLLM, cacheHits},
	"vllm:gpu_prefix_cache_queries_total":   {VLLM, cacheQueries},
	"vllm:gpu_prefix_cache_hits_total":      {VLLM, cacheHits},

	"sglang:num_running_reqs":        {SGLang, running},
	"sglang:num_queue_reqs":          {SGLang, waiting},
	"sglang:token_usage":             {SGLang, usage},
	"sglang:cache_config_info":       {SGLang, cacheConfig},
	"sglang:max_total_num_tokens":    {SGLang, cacheTokens},
	"sglang:prompt_tokens_total":     {SGLang, promptTokens},
	"sglang:generation_tokens_total": {SGLang, outputTokens},
	"sglang:cached_tokens_total":     {SGLang, cacheHits},

	"llamacpp:requests_processing":        {LlamaCPP, running},
	"llamacpp:requests_deferred":          {LlamaCPP, waiting},
	"llamacpp:kv_cache_usage_ratio":       {LlamaCPP, usage}, // until 2025
	"llamacpp:prompt_tokens_total":        {LlamaCPP, promptTokens},
	"llamacpp:prompt_tokens_cached_total": {LlamaCPP, cacheHits},
	"llamacpp:tokens_predicted_total":     {LlamaCPP, outputTokens},

	"process_start_time_seconds": {"", started},
	"http_requests_total":        {"", resets}, // vLLM's, for any path
}

// partLabels separate the parts of an engine, whose quantities add up:
// data-parallel ranks, models, sources of cached tokens. Series that differ only
// in other labels report the same quantity, as tensor-parallel ranks do; the
// largest counts.
var partLabels = []string{"engine", "dp_rank", "model_name", "engine_type", "cache_source"}

// ReadMetrics reads a page of metrics in Prometheus' text format. Values outside
// any sensible range count as unknown. The errors are ErrTooLarge, ErrSyntax,
// ErrNoEngine, and one for a reader that fails.
func ReadMetrics(r io.Reader) (Reading, error) {
	p := page{values: make(map[part]float64)}
	if err := readSamples(r, p.wanted, p.add); err != nil {
		return Reading{}, err
	}
	if p.kind == "" {
		return Reading{}, ErrNoEngine
	}
	return p.reading(), nil
}

// part is one quantity of one part of an engine.
type part struct {
	quantity quantity
	id       uint64
}

// page collects the quantities of one page.
type page struct {
	kind   Kind
	values map[part]float64
}

// wanted reports whether a metric is read. The engine whose metrics come first on
// the page is the only one.
func (p *page) wanted(name []byte) bool {
	s, known := series[string(name)]
	return known && (s.kind == "" || p.kind == "" || p.kind == s.kind)
}

func (p *page) add(s *sample) error {
	what := series[string(s.name)]
	if what.figure == bySource {
		source, known := sources[string(s.label("source"))]
		if !known {
			return nil
		}
		what.figure = source
	}
	if what.kind != "" {
		p.kind = what.kind
	}
	if what.figure == resets && !isReset(s) {
		return nil
	}
	value, ok := what.figure.value(s)
	if !ok {
		return nil
	}
	key := part{what.figure, partID(s)}
	old, known := p.values[key]
	if !known && len(p.values) == maxSeries {
		return ErrTooLarge
	}
	p.values[key] = max(old, value)
	return nil
}

// sources are the values of the label that splits vLLM's prompt tokens.
var sources = map[string]quantity{
	"local_compute":        fromCompute,
	"local_cache_hit":      fromGPU,
	"external_kv_transfer": fromOutside,
}

// value returns the value of a sample; ok is false outside any sensible range.
func (f quantity) value(s *sample) (value float64, ok bool) {
	value = s.value
	switch f {
	case running, waiting:
		ok = value <= 1e6
	case usage:
		ok = value <= 1
	case cacheConfig:
		value = configuredCapacity(s)
		ok = value > 0
	case cacheTokens:
		ok = value >= 1 && value <= 1e12
	case asleep:
		ok = value <= 1 && discardsCache(s)
	case started:
		ok = value >= 1 && value <= 1e11
	default: // a total
		ok = value <= 1e18
	}
	return value, ok && value >= 0 // not for NaN
}

// discardsCache reports whether a sample is of a sleep that empties the KV cache. In
// level 0, where the engine is only not awake, it keeps its blocks.
func discardsCache(s *sample) bool {
	state := string(s.label("sleep_state"))
	return state == "weights_offloaded" || state == "discard_all" // levels 1 and 2
}

// isReset reports whether a sample counts the requests to reset the prefix cache. They
// are answered with 200 even when the engine was too busy to do it.
func isReset(s *sample) bool {
	return string(s.label("handler")) == "/reset_prefix_cache" && bytes.HasPrefix(s.label("status"), []byte("2"))
}

// configuredCapacity returns the capacity in tokens from an engine's cache
// configuration, or 0. In this info metric the labels hold the numbers.
func configuredCapacity(s *sample) float64 {
	if n := wholeNumber(s.label("kv_cache_size_tokens"), 1e12); n > 0 {
		return n // newer vLLM: right for models with several kinds of layers too
	}
	if n := wholeNumber(s.label("num_gpu_blocks"), 1e9) * wholeNumber(s.label("block_size"), 1<<16); n > 0 {
		return n
	}
	return wholeNumber(s.label("num_pages"), 1e9) * wholeNumber(s.label("page_size"), 1<<16)
}

// wholeNumber reads a whole number up to a limit, or returns 0, as for "None".
func wholeNumber(text []byte, limit float64) float64 {
	if len(text) > maxNumber {
		return 0
	}
	n, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil || float64(n) > limit {
		return 0
	}
	return float64(n)
}

var identitySeed = maphash.MakeSeed()

// partID hashes the labels that separate the parts of an engine.
func partID(s *sample) (id uint64) {
	for i, name := range partLabels {
		if value := s.label(name); value != nil {
			id = id*31 + maphash.Bytes(identitySeed, value) + uint64(i)
		}
	}
	return id
}

// reading adds up the parts.
func (p *page) reading() Reading {
	r := Reading{Engine: p.kind, Usage: -1}
	var sums [started + 1]float64
	var counts [started + 1]int
	for key, value := range p.values {
		sums[key.quantity] += value
		counts[key.quantity]++
		if key.quantity == started {
			r.Started = max(r.Started, value) // the youngest process
		}
	}
	r.HasLoad = counts[running] > 0 && counts[waiting] > 0
	if r.HasLoad {
		r.Running, r.Waiting = int(math.Round(sums[running])), int(math.Round(sums[waiting]))
	}
	if counts[usage] > 0 {
		r.Usage = sums[usage] / float64(counts[usage])
	}
	r.Asleep = sums[asleep] > 0
	r.resets = sums[resets]
	r.Prompts = Sources{sums[fromCompute], sums[fromGPU], sums[fromOutside]}
	if counts[fromCompute] == 0 && counts[externalHits] > 0 { // older vLLM
		r.Prompts.External, r.Prompts.GPU = sums[externalHits], sums[cacheHits]
		r.Prompts.Computed = max(0, sums[promptTokens]-sums[cacheHits]-sums[externalHits])
	}
	r.Capacity = int64(sums[cacheConfig])
	if r.Capacity == 0 {
		r.Capacity = int64(sums[cacheTokens])
	}
	for f := range r.totals {
		r.totals[f] = -1
		if counts[f] > 0 {
			r.totals[f] = sums[f]
		}
	}
	return r
}
