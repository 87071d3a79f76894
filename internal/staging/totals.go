// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
)

// Report is what was staged for one upstream, for the admin API. It is
// of the running configs.
type Report struct {
	Orders  uint64 `json:"orders"`           // to LMCache
	Done    uint64 `json:"done"`             // of those, the ones that LMCache says are
	Tokens  uint64 `json:"tokens"`           // in CPU memory for them, by what it says
	Result  string `json:"result,omitempty"` // of the last one
	Resting bool   `json:"resting"`          // it has failed lately, and is left alone
}

// Totals counts what all policies of the process have staged, over reloads.
type Totals struct {
	staged, lookups         *prometheus.Desc
	tokens, wasted          *prometheus.Desc
	waits, waited, warmings *prometheus.Desc

	numHeld atomic.Uint64 // requests
	heldFor atomic.Int64  // ns, all of them

	mu    sync.Mutex
	users map[*stager]struct{}
	gone  stagingCounts // of the policies that are there no more
}

// metricsPrefix is in front of the names of all metrics.
const metricsPrefix = "caddy_kv_aware_"

// stagingCounts are totals.
type stagingCounts struct {
	service lmcache.Counts
	warmed  [numWarmResults]uint64
}

// NewTotals returns Totals of no stager.
func NewTotals() *Totals {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(metricsPrefix+name, help, labels, nil)
	}
	return &Totals{
		users:    make(map[*stager]struct{}),
		staged:   desc("staging_total", "Prompts that LMCache was to stage in CPU memory, by what came of it; submitted ones are counted again at their end.", "result"),
		lookups:  desc("staging_lookups_total", "Times that LMCache was to tell who holds a prompt, by what came of it.", "result"),
		tokens:   desc("staged_tokens_total", "Prompt tokens that LMCache said were in CPU memory after a staging."),
		wasted:   desc("staging_wasted_total", "Stagings whose tokens the next turn that they were for did not find cached, or no request in the two minutes that followed."),
		waits:    desc("staging_waits_total", "Requests that were held for their staging."),
		waited:   desc("staging_wait_seconds_total", "For how long requests were held for their staging, in all."),
		warmings: desc("warmups_total", "Requests for one token that were to bring a conversation's blocks to the GPU before its next turn, by what came of it.", "result"),
	}
}

// open counts what a policy stages.
func (s *Totals) open(st *stager) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[st] = struct{}{}
}

// close takes a policy out; what it has counted stays.
func (s *Totals) close(st *stager) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.users[st]; there {
		delete(s.users, st)
		s.gone.add(st)
	}
}

// held counts a request that was held. It may outlive the policy that did it.
func (s *Totals) held(d time.Duration) {
	s.numHeld.Add(1)
	s.heldFor.Add(int64(d))
}

// add adds what a policy has counted.
func (c *stagingCounts) add(st *stager) {
	counts := st.service.Counts()
	for i := range counts.Results {
		c.service.Results[i] += counts.Results[i]
		c.service.Lookups[i] += counts.Lookups[i]
	}
	c.service.Tokens += counts.Tokens
	c.service.Wasted += counts.Wasted
	if st.warmer == nil {
		return
	}
	for i := range c.warmed {
		c.warmed[i] += st.warmer.counts[i].Load()
	}
}

// Describe sends what the metrics are.
func (s *Totals) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.staged, s.lookups, s.tokens, s.wasted, s.waits, s.waited, s.warmings} {
		to <- d
	}
}

// Collect sends the figures of this moment.
func (s *Totals) Collect(to chan<- prometheus.Metric) {
	s.mu.Lock()
	total := s.gone
	for st := range s.users {
		total.add(st)
	}
	s.mu.Unlock()
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
	}
	for i, result := range lmcache.Results() {
		send(s.staged, float64(total.service.Results[i]), result.String())
		send(s.lookups, float64(total.service.Lookups[i]), result.String())
	}
	send(s.tokens, float64(total.service.Tokens))
	send(s.wasted, float64(total.service.Wasted))
	send(s.waits, float64(s.numHeld.Load()))
	send(s.waited, time.Duration(s.heldFor.Load()).Seconds())
	for i, n := range total.warmed {
		send(s.warmings, float64(n), warmResultNames[i])
	}
}

// Report tells what was staged for an upstream; nil when nothing is.
func (s *Totals) Report(address string) *Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	var report *Report
	for st := range s.users {
		n, known := st.service.NodeCounts(address)
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
