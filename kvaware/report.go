// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"slices"
	"strings"

	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/staging"
	"github.com/bauxite/caddy-kvaware/internal/upstreams"
)

// upstreamReport describes one upstream, as the admin API shows it.
type upstreamReport struct {
	Address   string  `json:"address"`
	Requests  int     `json:"requests"`  // signed ones in flight
	WaitMS    float64 `json:"wait_ms"`   // predicted, until the prefill queued there is done
	Footprint int64   `json:"footprint"` // uncached tokens sent there lately
	SeenAgo   float64 `json:"seen_seconds_ago"`

	Capacity       int64  `json:"capacity,omitempty"`        // of its KV cache, in tokens; none: not known
	CapacitySource string `json:"capacity_source,omitempty"` // config, metrics or learned

	Engine  *upstreams.Report      `json:"engine,omitempty"`  // none: its metrics are not read
	Events  []following.Report     `json:"events,omitempty"`  // of each rank; none: not followed
	Tokens  *following.TokenReport `json:"tokens,omitempty"`  // none: it was never asked for tokens
	Staging *staging.Report        `json:"staging,omitempty"` // none: nothing was staged there
}

// report describes the upstreams, all or the one at an address, by address.
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
			CapacitySource: s.upstreams.CapacitySource(u.Address, u.Capacity),
			Engine:         s.upstreams.Report(u.Address),
			Events:         s.events.Reports(u.Address),
			Tokens:         s.tokens.Report(u.Address),
			Staging:        s.stagings.Report(u.Address),
		})
	}
	slices.SortFunc(reports, func(a, b upstreamReport) int { return strings.Compare(a.Address, b.Address) })
	return reports
}
