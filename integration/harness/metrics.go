// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Registry returns the running config's metrics.
func Registry() *prometheus.Registry {
	ctx := caddy.ActiveContext()
	return ctx.GetMetricsRegistry()
}

// sample is one labelled value of a metric; for a histogram, the number of
// observations.
type sample struct {
	labels map[string]string
	value  float64
}

func samples(t testing.TB, name string) (all []sample) {
	t.Helper()
	families, err := Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			s := sample{make(map[string]string), m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())}
			for _, label := range m.GetLabel() {
				s.labels[label.GetName()] = label.GetValue()
			}
			all = append(all, s)
		}
	}
	return all
}

// Metric returns the sum of a metric over all its labels.
func Metric(t testing.TB, name string) (sum float64) {
	t.Helper()
	for _, s := range samples(t, name) {
		sum += s.value
	}
	return sum
}

// UpstreamMetric returns one upstream's value of a metric, and whether there is
// one.
func UpstreamMetric(t testing.TB, name, upstream string) (value float64, ok bool) {
	t.Helper()
	for _, s := range samples(t, name) {
		if s.labels["upstream"] == upstream {
			return s.value, true
		}
	}
	return 0, false
}

// ResultMetric returns a metric's value for one result.
func ResultMetric(t testing.TB, name, result string) float64 {
	t.Helper()
	return LabelMetric(t, name, "result", result)
}

// LabelMetric returns the first value of a metric that has a label.
func LabelMetric(t testing.TB, name, label, value string) float64 {
	t.Helper()
	for _, s := range samples(t, name) {
		if s.labels[label] == value {
			return s.value
		}
	}
	return 0
}
