// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
)

// Report counts the running policies' stagings for one upstream, for the admin API.
type Report struct {
	Orders  uint64 `json:"orders"`           // to LMCache
	Done    uint64 `json:"done"`             // orders that LMCache reports as done
	Tokens  uint64 `json:"tokens"`           // in CPU memory by these orders, as LMCache reports
	Result  string `json:"result,omitempty"` // of the last order
	Resting bool   `json:"resting"`          // LMCache has failed lately and is left alone
}

// Totals counts the stagings of all policies of the process, over reloads.
type Totals struct {
	staged, lookups         *prometheus.Desc
	tokens, wasted          *prometheus.Desc
	holds, holdTime, warmed *prometheus.Desc

	numHolds atomic.Uint64
	heldFor  atomic.Int64 // ns, all requests together

	mu      sync.Mutex
	stagers map[*stager]struct{}
	closed  counts // of the stagers that were removed
}

// metricsPrefix begins the names of all metrics.
const metricsPrefix = "caddy_kv_aware_"

// counts are totals of stagers.
type counts struct {
	service lmcache.Counts
	warmed  [numWarmResults]uint64
}

// NewTotals returns Totals that count nothing yet.
func NewTotals() *Totals {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(metricsPrefix+name, help, labels, nil)
	}
	return &Totals{
		stagers:  make(map[*stager]struct{}),
		staged:   desc("staging_total", "Prompts to be staged in CPU memory by LMCache, by result; a submitted one is counted again when it ends.", "result"),
		lookups:  desc("staging_lookups_total", "Lookups of the nodes that hold a prompt, by result.", "result"),
		tokens:   desc("staged_tokens_total", "Prompt tokens in CPU memory after a staging, as LMCache reports."),
		wasted:   desc("staging_wasted_total", "Stagings whose tokens were not found cached by the next turn that they were for, or by any request in the two minutes that followed."),
		holds:    desc("staging_waits_total", "Requests that were held for their staging."),
		holdTime: desc("staging_wait_seconds_total", "Time that requests were held for their staging, in all."),
		warmed:   desc("warmups_total", "One-token requests to bring a conversation's blocks to the GPU before its next turn, by result.", "result"),
	}
}

// add counts a stager from now on.
func (t *Totals) add(s *stager) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stagers[s] = struct{}{}
}

// remove takes a stager out. Its counts stay.
func (t *Totals) remove(s *stager) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, there := t.stagers[s]; there {
		delete(t.stagers, s)
		t.closed.add(s)
	}
}

// countHold counts a request that was held. Its stager may have been removed.
func (t *Totals) countHold(d time.Duration) {
	t.numHolds.Add(1)
	t.heldFor.Add(int64(d))
}

// add adds the counts of a stager.
func (c *counts) add(s *stager) {
	of := s.service.Counts()
	for i := range of.Results {
		c.service.Results[i] += of.Results[i]
		c.service.Lookups[i] += of.Lookups[i]
	}
	c.service.Tokens += of.Tokens
	c.service.Wasted += of.Wasted
	if s.warmer == nil {
		return
	}
	for i := range c.warmed {
		c.warmed[i] += s.warmer.counts[i].Load()
	}
}

// Describe implements prometheus.Collector.
func (t *Totals) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{t.staged, t.lookups, t.tokens, t.wasted, t.holds, t.holdTime, t.warmed} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (t *Totals) Collect(to chan<- prometheus.Metric) {
	t.mu.Lock()
	total := t.closed
	for s := range t.stagers {
		total.add(s)
	}
	t.mu.Unlock()
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
	}
	for i, result := range lmcache.Results() {
		send(t.staged, float64(total.service.Results[i]), result.String())
		send(t.lookups, float64(total.service.Lookups[i]), result.String())
	}
	send(t.tokens, float64(total.service.Tokens))
	send(t.wasted, float64(total.service.Wasted))
	send(t.holds, float64(t.numHolds.Load()))
	send(t.holdTime, time.Duration(t.heldFor.Load()).Seconds())
	for i, n := range total.warmed {
		send(t.warmed, float64(n), warmResultNames[i])
	}
}

// Report returns the report of an upstream; nil when no running policy has asked its
// LMCache for anything.
func (t *Totals) Report(upstream string) *Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	var report *Report
	for s := range t.stagers {
		n, known := s.service.NodeCounts(upstream)
		if !known {
			continue
		}
		if report == nil {
			report = new(Report)
		}
		report.Orders += n.Orders
		report.Done += n.Done
		report.Tokens += n.Tokens
		report.Resting = report.Resting || n.Resting
		if n.Orders > 0 {
			report.Result = n.Last.String()
		}
	}
	return report
}

// Interface guards
var _ prometheus.Collector = (*Totals)(nil)
