// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/outlier"
)

// failureObserver counts failures, and logs when an upstream is left out and when
// it is back.
type failureObserver struct{ metrics *policyMetrics }

// Failed implements outlier.Observer.
func (o *failureObserver) Failed(address string, k outlier.Kind) {
	o.metrics.failures.WithLabelValues(address, k.String()).Inc()
}

// Ejected implements outlier.Observer.
func (o *failureObserver) Ejected(address string, k outlier.Kind, d time.Duration) {
	text := "the upstream is ejected because it fails"
	if k == outlier.Limited {
		text = "the upstream is left out because it is busy"
	}
	caddy.Log().Named("kv_aware").Warn(text,
		zap.String("upstream", address), zap.Stringer("failure", k), zap.Duration("for", d))
}

// Returned implements outlier.Observer.
func (o *failureObserver) Returned(address string) {
	caddy.Log().Named("kv_aware").Info("the upstream answers again", zap.String("upstream", address))
}

// ejectedMetric shows which upstreams are left out.
type ejectedMetric struct {
	shared *shared
	desc   *prometheus.Desc
}

func newEjectedMetric(s *shared) *ejectedMetric {
	return &ejectedMetric{s, prometheus.NewDesc(
		prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "ejected"),
		"1 while the upstream is left out because it fails or is busy, else 0.", []string{"upstream"}, nil)}
}

// Describe implements prometheus.Collector.
func (m *ejectedMetric) Describe(out chan<- *prometheus.Desc) { out <- m.desc }

// Collect implements prometheus.Collector.
func (m *ejectedMetric) Collect(out chan<- prometheus.Metric) {
	for address, ejected := range m.shared.outliers.Ejected() {
		value := 0.0
		if ejected {
			value = 1
		}
		out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, value, address)
	}
}

// failureReport describes the failures of an upstream, as the admin API shows it.
type failureReport struct {
	State        string  `json:"state"` // ready, returning, half-open, limited or ejected
	InARow       int     `json:"in_a_row"`
	LastKind     string  `json:"last_kind,omitempty"`
	Share        float64 `json:"share"`                   // of the attempts lately
	LeftOut      float64 `json:"left_out_s,omitempty"`    // seconds until it may be probed
	OverdueSince float64 `json:"overdue_since,omitempty"` // seconds since the oldest overdue answer was asked for
}

// failures describes the failures of an upstream; nil when no attempt at it is
// remembered.
func (s *shared) failures(address string) *failureReport {
	r, ok := s.outliers.Report(address)
	if !ok {
		return nil
	}
	f := &failureReport{
		State:        r.State.String(),
		InARow:       r.InARow,
		Share:        r.FailureShare,
		LeftOut:      r.Left.Seconds(),
		OverdueSince: r.Overdue.Seconds(),
	}
	if r.Failed {
		f.LastKind = r.Kind.String()
	}
	return f
}

// Interface guards
var (
	_ outlier.Observer     = (*failureObserver)(nil)
	_ prometheus.Collector = (*ejectedMetric)(nil)
)
