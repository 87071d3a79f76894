// SPDX-License-Identifier: Apache-2.0

package following

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics exports the figures of all KV event streams. Each upstream has one
// series: the sum over its ranks, or the worst of them.
type Metrics struct {
	subscriptions *Subscriptions
	connected     *prometheus.Desc
	lag           *prometheus.Desc
	gaps          *prometheus.Desc
	replays       *prometheus.Desc
	blocks        *prometheus.Desc
	orphans       *prometheus.Desc
}

// NewMetrics returns the collector; namespace and subsystem begin the names of
// its metrics.
func NewMetrics(s *Subscriptions, namespace, subsystem string) *Metrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, []string{"upstream"}, nil)
	}
	return &Metrics{
		subscriptions: s,
		connected:     desc("events_connected", "1 when the events of all ranks of the upstream arrive, else 0."),
		lag:           desc("events_lag_seconds", "Age of the upstream's last event when it was applied, by the engine's clock."),
		gaps:          desc("events_gaps_total", "Times that events of the upstream were missing."),
		replays:       desc("events_replays_total", "Times that past events of the upstream were read."),
		blocks:        desc("events_blocks_total", "Blocks that the upstream's events reported as stored, and that were entered."),
		orphans:       desc("events_unknown_parents_total", "Events of the upstream left out because the block before theirs was not known."),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.connected, m.lag, m.gaps, m.replays, m.blocks, m.orphans} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	type sums struct{ connected, lag, gaps, replays, blocks, orphans float64 }
	upstreams := make(map[string]*sums)
	for _, state := range m.subscriptions.client.States("") {
		u := upstreams[state.Publisher.Upstream]
		if u == nil {
			u = &sums{connected: 1}
			upstreams[state.Publisher.Upstream] = u
		}
		if !state.Connected {
			u.connected = 0
		}
		u.lag = max(u.lag, state.Lag.Seconds())
		u.gaps += float64(state.Gaps)
		u.replays += float64(state.Replays)
		if feed := m.subscriptions.feed(state.Publisher); feed != nil {
			stats := feed.Stats()
			u.blocks += float64(stats.Blocks)
			u.orphans += float64(stats.UnknownParents)
		}
	}
	for address, u := range upstreams {
		send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64) {
			to <- prometheus.MustNewConstMetric(d, kind, value, address)
		}
		send(m.connected, prometheus.GaugeValue, u.connected)
		send(m.lag, prometheus.GaugeValue, u.lag)
		send(m.gaps, prometheus.CounterValue, u.gaps)
		send(m.replays, prometheus.CounterValue, u.replays)
		send(m.blocks, prometheus.CounterValue, u.blocks)
		send(m.orphans, prometheus.CounterValue, u.orphans)
	}
}

// Interface guards
var _ prometheus.Collector = (*Metrics)(nil)
