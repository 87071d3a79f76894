// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
)

// eventsReport is what is known of one publisher, for the admin API.
type eventsReport struct {
	Rank           int      `json:"rank"`
	Connected      bool     `json:"connected"`
	Known          string   `json:"known"` // unknown, partial or complete
	LagSeconds     *float64 `json:"lag_seconds,omitempty"`
	Batches        uint64   `json:"batches"`
	Events         uint64   `json:"events"`
	Malformed      uint64   `json:"malformed,omitempty"`
	Gaps           uint64   `json:"gaps"`
	Losses         uint64   `json:"losses"` // gaps that could not be closed
	Replays        uint64   `json:"replays"`
	Restarts       uint64   `json:"restarts"`
	Blocks         uint64   `json:"blocks"` // entered so far, copies counted
	UnknownParents uint64   `json:"unknown_parents"`
	BlockTokens    int      `json:"block_tokens,omitempty"`
	Failure        string   `json:"failure,omitempty"`
}

// report describes the publishers of an upstream; nil when none is followed.
func (s *following) report(address string) (reports []eventsReport) {
	for _, state := range s.set.States(address) {
		r := eventsReport{
			Rank: state.Publisher.Rank, Connected: state.Connected, Known: state.Knowledge.String(),
			Batches: state.Batches, Events: state.Events, Malformed: state.Malformed,
			Gaps: state.Gaps, Losses: state.Losses, Replays: state.Replays, Restarts: state.Restarts,
		}
		if !state.Last.IsZero() {
			lag := state.Lag.Seconds()
			r.LagSeconds = &lag
		}
		if state.Failure != nil {
			r.Failure = state.Failure.Error() // a fixed text
		}
		if feed := s.feed(state.Publisher); feed != nil {
			stats := feed.Stats()
			r.Known = min(state.Knowledge, feed.Knowledge()).String()
			r.Blocks, r.UnknownParents, r.BlockTokens = stats.Blocks, stats.UnknownParents, feed.BlockTokens()
		}
		reports = append(reports, r)
	}
	return reports
}

// eventMetrics are the figures of what engines publish, one series for each
// upstream: the sum over its ranks, or the worst of them.
type eventMetrics struct {
	following *following
	connected *prometheus.Desc
	lag       *prometheus.Desc
	gaps      *prometheus.Desc
	replays   *prometheus.Desc
	blocks    *prometheus.Desc
	orphans   *prometheus.Desc
}

func newEventMetrics(s *following) *eventMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, []string{"upstream"}, nil)
	}
	return &eventMetrics{
		following: s,
		connected: desc("events_connected", "1 when the events of all ranks of the upstream arrive, else 0."),
		lag:       desc("events_lag_seconds", "Age of the upstream's last event when it was applied, by the engine's clock."),
		gaps:      desc("events_gaps_total", "Times that events of the upstream were missing."),
		replays:   desc("events_replays_total", "Times that past events of the upstream were read."),
		blocks:    desc("events_blocks_total", "Blocks that the upstream said it stored, and that were entered."),
		orphans:   desc("events_unknown_parents_total", "Events of the upstream left out because the block before theirs was not known."),
	}
}

// Describe sends what the metrics are.
func (m *eventMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.connected, m.lag, m.gaps, m.replays, m.blocks, m.orphans} {
		to <- d
	}
}

// Collect sends the figures of this moment.
func (m *eventMetrics) Collect(to chan<- prometheus.Metric) {
	type sums struct{ connected, lag, gaps, replays, blocks, orphans float64 }
	upstreams := make(map[string]*sums)
	for _, state := range m.following.set.States("") {
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
		if feed := m.following.feed(state.Publisher); feed != nil {
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

// feed returns where a publisher's events go; nil when it is not followed.
func (s *following) feed(source kvevents.Publisher) *kvindex.Feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.upstreams[source.Upstream]; u != nil {
		return u.feeds[source]
	}
	return nil
}

// Interface guards
var _ prometheus.Collector = (*eventMetrics)(nil)
