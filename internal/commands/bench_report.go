// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/replay"
)

// measurements collects the measurements of one endpoint.
type measurements struct {
	began time.Time

	mu     sync.Mutex
	all    []measurement
	failed map[string]int // by reason
	late   int            // requests that had to wait for a slot
}

func (m *measurements) add(one measurement, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failed[err.Error()]++
		return
	}
	m.all = append(m.all, one)
}

func (m *measurements) addLate() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.late++
}

// benchResult holds the figures of one endpoint.
type benchResult struct {
	url      string
	requests int // answered
	failed   map[string]int
	late     int
	seconds  float64
	ttft     []time.Duration // ascending
	tpot     time.Duration   // mean over the answers that report their length
	prompt   int64           // prompt tokens of the answers that report cached tokens
	cached   int64
	reported int // number of those answers
}

func (m *measurements) result(t *benchTarget) benchResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := benchResult{url: t.base, requests: len(m.all), failed: m.failed, late: m.late, seconds: time.Since(m.began).Seconds()}
	answers, tpot := 0, 0.0
	for i := range m.all {
		one := &m.all[i]
		r.ttft = append(r.ttft, one.ttft)
		if n := one.usage.CompletionTokens; n > 1 {
			answers++
			tpot += float64(one.total-one.ttft) / float64(n-1)
		}
		if one.reported && one.usage.Cached {
			r.reported++
			r.prompt += int64(one.usage.PromptTokens)
			r.cached += int64(one.usage.CachedTokens)
		}
	}
	r.tpot = time.Duration(tpot / float64(max(1, answers)))
	slices.Sort(r.ttft)
	return r
}

// mean returns the mean time to first token, 0 without answers.
func (r *benchResult) mean() (mean time.Duration) {
	for _, d := range r.ttft {
		mean += d
	}
	return mean / time.Duration(max(1, len(r.ttft)))
}

// quantile returns a quantile of the times to first token, by the nearest rank.
func (r *benchResult) quantile(q float64) time.Duration {
	if len(r.ttft) == 0 {
		return 0
	}
	return r.ttft[max(0, int(math.Ceil(q*float64(len(r.ttft))))-1)]
}

// hitRate returns cached / prompt tokens; known is false if no answer reports it.
func (r *benchResult) hitRate() (rate float64, known bool) {
	if r.reported == 0 || r.prompt == 0 {
		return 0, false
	}
	return float64(r.cached) / float64(r.prompt), true
}

func (r *benchResult) failures() (n int) {
	for _, count := range r.failed {
		n += count
	}
	return n
}

// writeBenchTable prints results as a table, then the reasons of failures, and which
// rows of the trace were skipped.
func writeBenchTable(out io.Writer, results []benchResult, skipped replay.Skipped) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "endpoint\tanswers\tfailed\tlate\tTTFT mean\tp50\tp90\tp99\tTPOT\tcached")
	for i := range results {
		r := &results[i]
		cached := "not reported"
		if rate, known := r.hitRate(); known {
			cached = fmt.Sprintf("%.1f %%", 100*rate)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.0f ms\t%.0f ms\t%.0f ms\t%.0f ms\t%.1f ms\t%s\n", r.url, r.requests, r.failures(), r.late,
			milliseconds(r.mean()), milliseconds(r.quantile(0.5)), milliseconds(r.quantile(0.9)), milliseconds(r.quantile(0.99)), milliseconds(r.tpot), cached)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i := range results {
		for _, reason := range slices.Sorted(maps.Keys(results[i].failed)) {
			if _, err := fmt.Fprintf(out, "%s: failed %d times: %s\n", results[i].url, results[i].failed[reason], reason); err != nil {
				return err
			}
		}
	}
	if skipped.Rows == 0 {
		return nil
	}
	_, err := fmt.Fprintln(out, skipped.String())
	return err
}

// milliseconds returns d in milliseconds, rounded down to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// benchJSON is one endpoint's result in the JSON output.
type benchJSON struct {
	URL      string             `json:"url"`
	Requests int                `json:"requests"`
	Failed   map[string]int     `json:"failed"`
	Late     int                `json:"late"`
	Seconds  float64            `json:"seconds"`
	TTFT     map[string]float64 `json:"ttft_ms"`
	TPOT     float64            `json:"tpot_ms"`
	HitRate  *float64           `json:"hit_rate"` // null: not reported
	Prompt   int64              `json:"prompt_tokens"`
	Cached   int64              `json:"cached_tokens"`
}

// writeBenchJSON prints results as {"endpoints":[...]}, with the number of skipped rows
// of the trace as "skipped" where there are any.
func writeBenchJSON(out io.Writer, results []benchResult, skipped replay.Skipped) error {
	all := make([]benchJSON, len(results))
	for i := range results {
		r := &results[i]
		all[i] = benchJSON{
			URL: r.url, Requests: r.requests, Failed: r.failed, Late: r.late, Seconds: math.Round(r.seconds*1000) / 1000,
			TTFT: map[string]float64{
				"mean": milliseconds(r.mean()), "p50": milliseconds(r.quantile(0.5)), "p90": milliseconds(r.quantile(0.9)), "p99": milliseconds(r.quantile(0.99)),
			},
			TPOT: milliseconds(r.tpot), Prompt: r.prompt, Cached: r.cached,
		}
		if rate, known := r.hitRate(); known {
			rate = math.Round(rate*1e5) / 1e5
			all[i].HitRate = &rate
		}
	}
	report := map[string]any{"endpoints": all}
	if skipped.Rows > 0 {
		report["skipped"] = skipped.Rows
	}
	return json.NewEncoder(out).Encode(report)
}
