// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"slices"
	"strings"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/metrics"
	"github.com/bauxite/caddy-kvaware/internal/staging"
)

// upstreamReport is what is known of one upstream.
type upstreamReport struct {
	Address   string  `json:"address"`
	Requests  int     `json:"requests"`  // signed ones in flight
	WaitMS    float64 `json:"wait_ms"`   // until the prefill queued there is done, as predicted
	Footprint int64   `json:"footprint"` // uncached tokens sent there lately
	SeenAgo   float64 `json:"seen_seconds_ago"`

	Capacity       int64  `json:"capacity,omitempty"`        // of its KV cache, in tokens; none: not known
	CapacitySource string `json:"capacity_source,omitempty"` // config, metrics or learned

	Engine *engineReport  `json:"engine,omitempty"` // none: it is not asked
	Events []eventsReport `json:"events,omitempty"` // of each rank; none: they are not followed
	Tokens *tokensReport  `json:"tokens,omitempty"` // none: it was never asked for a prompt's

	Staging *staging.Report `json:"staging,omitempty"` // none: nothing was ever to be staged there
}

// engineReport is what an engine tells about itself.
type engineReport struct {
	Kind     string   `json:"kind,omitempty"`             // vllm, sglang or llama.cpp
	ReadAgo  *float64 `json:"read_seconds_ago,omitempty"` // since its metrics were read; none: never
	Failure  string   `json:"failure,omitempty"`          // of the last attempt to read them
	Refused  bool     `json:"refused,omitempty"`          // nothing listened there
	Running  *int     `json:"running,omitempty"`          // requests
	Waiting  *int     `json:"waiting,omitempty"`
	KVUsage  *float64 `json:"kv_usage,omitempty"` // 0 to 1
	Capacity int64    `json:"capacity,omitempty"` // tokens
	Models   int      `json:"models,omitempty"`   // how many it lists
}

// report describes the upstreams, all or the one at address, by address.
func (s *shared) report(address string) []upstreamReport {
	reports := []upstreamReport{}
	for _, u := range s.router.Upstreams() {
		if address != "" && u.Address != address {
			continue
		}
		reports = append(reports, upstreamReport{
			Address:        u.Address,
			Requests:       u.Requests,
			WaitMS:         u.Wait.Seconds() * 1000,
			Footprint:      u.Footprint,
			SeenAgo:        u.Idle.Seconds(),
			Capacity:       u.Capacity,
			CapacitySource: s.engines.capacitySource(u.Address, u.Capacity),
			Engine:         s.engines.report(u.Address),
			Events:         s.following.report(u.Address),
			Tokens:         s.prompts.report(u.Address),
			Staging:        s.stagings.Report(u.Address),
		})
	}
	slices.SortFunc(reports, func(a, b upstreamReport) int { return strings.Compare(a.Address, b.Address) })
	return reports
}

// report describes what the engine at an address tells; nil when it is not
// asked.
func (e *engines) report(address string) *engineReport {
	states := e.watch.States(address)
	if len(states) == 0 {
		return nil
	}
	return describe(states[0], e.now())
}

func describe(s metrics.State, now time.Time) *engineReport {
	r := &engineReport{Refused: s.Down, Models: len(s.Models)}
	if s.Failure != nil {
		r.Failure = s.Failure.Error() // a fixed text
	}
	if s.ReadAt.IsZero() {
		return r
	}
	ago := now.Sub(s.ReadAt).Seconds()
	r.Kind, r.ReadAgo, r.Capacity = string(s.Reading.Engine), &ago, s.Reading.Capacity
	if s.Reading.HasLoad {
		r.Running, r.Waiting = &s.Reading.Running, &s.Reading.Waiting
	}
	if s.Reading.Usage >= 0 {
		r.KVUsage = &s.Reading.Usage
	}
	return r
}
