// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/answer"
	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

const (
	metricsNamespace = "caddy"
	metricsSubsystem = "kv_aware"
)

// policyMetrics are the figures of the shared state. They live as long as it
// does and are registered anew with every config, because each config has its
// own registry. Labels are upstream addresses and fixed words, never anything of
// a request.
type policyMetrics struct {
	requests     *prometheus.CounterVec
	predicted    *prometheus.CounterVec
	external     *prometheus.CounterVec
	reported     *prometheus.CounterVec
	errorRatio   prometheus.Histogram
	ttft         *prometheus.HistogramVec
	usageMissing *prometheus.CounterVec
	failures     *prometheus.CounterVec
	others       []prometheus.Collector // read at each scrape
}

func newPolicyMetrics(s *shared) *policyMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help,
		}, labels)
	}
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help}
	}
	return &policyMetrics{
		requests: counter("requests_total",
			"Requests sent to an upstream, by the reason for picking it. Without an upstream: refused requests, by the reason for that.", "upstream", "reason"),
		predicted: counter("predicted_cached_tokens_total",
			"Prompt tokens that were predicted to be in the upstream's KV cache, for answers that reported the true number.", "upstream"),
		external: counter("predicted_external_tokens_total",
			"Of the predicted cached tokens, those that the engine was predicted to load from outside its GPU, such as by LMCache.", "upstream"),
		reported: counter("reported_cached_tokens_total",
			"Prompt tokens that the upstream reported as cached, on its GPU or outside.", "upstream"),
		errorRatio: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "prediction_error_ratio",
			Help:    "|predicted - reported cached tokens| / prompt tokens.",
			Buckets: []float64{0, .005, .01, .02, .05, .1, .2, .5, 1},
		}),
		ttft: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "ttft_seconds",
			Help:    "Time from picking the upstream to the first token of a streamed answer.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"upstream"}),
		usageMissing: counter("usage_missing_total",
			"Answers that did not report cached prompt tokens.", "upstream"),
		failures: counter("failures_total",
			"Attempts that failed, by kind: dial, reset, timeout, status, limited, cut or stalled.", "upstream", "kind"),
		others: []prometheus.Collector{
			newEjectedMetric(s),
			newEnginePromptsMetric(s),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("tree_bytes",
				"Memory of the prefix tree.")), func() float64 { return float64(s.router.Stats().Bytes) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("tree_blocks",
				"Distinct prompt blocks in the prefix tree.")), func() float64 { return float64(s.router.Stats().Blocks) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts(opts("evictions_total",
				"Blocks dropped from the prefix tree to stay under its memory limit.")), func() float64 { return float64(s.router.Stats().Evictions) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("disk_locked",
				"1 when the process can create or write no file any more, else 0.")), diskLocked),
			following.NewMetrics(s.events, metricsNamespace, metricsSubsystem),
			following.NewTokenMetrics(s.tokens, metricsNamespace, metricsSubsystem),
			s.stagings,
		},
	}
}

// register enters the metrics into a config's registry.
func (m *policyMetrics) register(r prometheus.Registerer) error {
	own := []prometheus.Collector{m.requests, m.predicted, m.external, m.reported, m.errorRatio, m.ttft, m.usageMissing, m.failures}
	for _, c := range slices.Concat(own, m.others) {
		if err := r.Register(c); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return err
		}
	}
	return nil
}

// picked counts a decision.
func (m *policyMetrics) picked(address string, why routing.Reason) {
	m.requests.WithLabelValues(address, string(why)).Inc()
}

// compare counts a prediction against the engine's report.
func (m *policyMetrics) compare(address string, predicted, external int, u answer.Usage) {
	m.predicted.WithLabelValues(address).Add(float64(predicted))
	m.external.WithLabelValues(address).Add(float64(external))
	m.reported.WithLabelValues(address).Add(float64(u.CachedTokens))
	if u.PromptTokens > 0 {
		m.errorRatio.Observe(math.Abs(float64(predicted-u.CachedTokens)) / float64(u.PromptTokens))
	}
}

// forget drops the series of an upstream that has gone.
func (m *policyMetrics) forget(address string) {
	labels := prometheus.Labels{"upstream": address}
	m.requests.DeletePartialMatch(labels)
	m.predicted.DeletePartialMatch(labels)
	m.external.DeletePartialMatch(labels)
	m.reported.DeletePartialMatch(labels)
	m.ttft.DeletePartialMatch(labels)
	m.usageMissing.DeletePartialMatch(labels)
	m.failures.DeletePartialMatch(labels)
}
