// SPDX-License-Identifier: Apache-2.0

package following

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/tokenize"
)

// TokenReport describes the fetching of prompts' tokens from one upstream, as
// the admin API shows it. Without tokens the upstream's events cannot be found
// by text, so an engine that does not report them shows here.
type TokenReport struct {
	Waiting int    `json:"waiting"` // prompts in the queue or being fetched
	Fetched uint64 `json:"fetched"`
	Failed  uint64 `json:"failed"`
	Dropped uint64 `json:"dropped"`           // waited too long, or found the queue full
	Failure string `json:"failure,omitempty"` // of the last fetch
}

// Report describes the fetching from an upstream; nil when it was never asked.
func (l *TokenLinker) Report(address string) *TokenReport {
	state, known := l.queue.State(address)
	if !known {
		return nil
	}
	r := &TokenReport{Waiting: state.Waiting + state.Running, Fetched: state.Fetched, Failed: state.Failed, Dropped: state.Dropped}
	if state.LastError != nil {
		r.Failure = state.LastError.Error() // a fixed text
	}
	return r
}

// TokenMetrics exports the same figures.
type TokenMetrics struct {
	queue   *tokenize.Queue
	prompts *prometheus.Desc
}

// NewTokenMetrics returns the collector; namespace and subsystem begin the names
// of its metrics.
func NewTokenMetrics(l *TokenLinker, namespace, subsystem string) *TokenMetrics {
	return &TokenMetrics{queue: l.queue, prompts: prometheus.NewDesc(
		prometheus.BuildFQName(namespace, subsystem, "tokenized_prompts_total"),
		"Prompts whose tokens were to be fetched from the upstream, by outcome: fetched, failed or dropped.",
		[]string{"upstream", "outcome"}, nil)}
}

// Describe implements prometheus.Collector.
func (m *TokenMetrics) Describe(to chan<- *prometheus.Desc) { to <- m.prompts }

// Collect implements prometheus.Collector.
func (m *TokenMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.queue.States() {
		for outcome, n := range map[string]uint64{"fetched": s.Fetched, "failed": s.Failed, "dropped": s.Dropped} {
			to <- prometheus.MustNewConstMetric(m.prompts, prometheus.CounterValue, float64(n), s.Upstream, outcome)
		}
	}
}

// Interface guards
var _ prometheus.Collector = (*TokenMetrics)(nil)
