// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/tokenize"
)

// tokensReport is what became of asking an engine for the tokens of prompts,
// for the admin API. Without them what the engine says it holds is not found by
// text, so that it shows here when an engine does not tell them.
type tokensReport struct {
	Waiting int    `json:"waiting"` // prompts that are to be asked about, or just are
	Fetched uint64 `json:"fetched"`
	Failed  uint64 `json:"failed"`
	Dropped uint64 `json:"dropped"`           // waited too long, or too many did
	Failure string `json:"failure,omitempty"` // of the last one asked about
}

// report tells of the prompts sent to an upstream; nil when it was never asked.
func (s *prompts) report(address string) *tokensReport {
	state, known := s.queue.State(address)
	if !known {
		return nil
	}
	r := &tokensReport{Waiting: state.Waiting + state.Running, Fetched: state.Fetched, Failed: state.Failed, Dropped: state.Dropped}
	if state.LastError != nil {
		r.Failure = state.LastError.Error() // a fixed text
	}
	return r
}

// tokenMetrics are the same figures as metrics.
type tokenMetrics struct {
	queue   *tokenize.Queue
	prompts *prometheus.Desc
}

func newTokenMetrics(s *prompts) *tokenMetrics {
	return &tokenMetrics{queue: s.queue, prompts: prometheus.NewDesc(
		prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "tokenized_prompts_total"),
		"Prompts whose tokens the upstream was to be asked for, by what became of it: fetched, failed or dropped.",
		[]string{"upstream", "outcome"}, nil)}
}

// Describe sends what the metrics are.
func (m *tokenMetrics) Describe(to chan<- *prometheus.Desc) { to <- m.prompts }

// Collect sends the figures of this moment.
func (m *tokenMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.queue.States() {
		for outcome, n := range map[string]uint64{"fetched": s.Fetched, "failed": s.Failed, "dropped": s.Dropped} {
			to <- prometheus.MustNewConstMetric(m.prompts, prometheus.CounterValue, float64(n), s.Upstream, outcome)
		}
	}
}

// Interface guards
var _ prometheus.Collector = (*tokenMetrics)(nil)
