// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// laterFault is a fault that comes under traffic and goes again.
type laterFault struct {
	name  string
	fault enginesim.Fault
	sites []setup
}

var laterFaults = []laterFault{
	// Its connections end, and it starts again with an empty cache.
	{"is killed", enginesim.Fault{Kind: enginesim.Crash}, documented},
	{"answers 500 later", enginesim.Fault{Kind: enginesim.Status, Status: http.StatusInternalServerError}, []setup{start, leastConn}},
	{"answers 503 later", enginesim.Fault{Kind: enginesim.Status, Status: http.StatusServiceUnavailable}, []setup{start, leastConn}},
	{"answers 429 later", enginesim.Fault{Kind: enginesim.Status, Status: http.StatusTooManyRequests}, []setup{start, leastConn}},
}

// laterTime is the time between the fault and its end.
const laterTime = 3 * time.Second

func laterScenarios(t *testing.T) (all []scenario) {
	for _, f := range laterFaults {
		for _, in := range f.sites {
			s := newSite(t, f.name, in, startNodes(t, engineConfig, 0, 4))
			all = append(all, scenario{s, func(g *gateway, s *site) { g.runLater(s, f) }})
		}
	}
	return all
}

// runLater has the first engine fail after a quarter of the traffic, for some
// seconds.
func (g *gateway) runLater(s *site, f laterFault) {
	faulty := s.nodes[0]
	requests, interval := s.traffic()
	count := g.pace(s, 0, requests, interval, s.request, func(n int) {
		var err error
		switch n {
		case requests / 4:
			err = faulty.engine.Fault(f.fault)
		case requests/4 + int(laterTime/interval):
			err = faulty.engine.Heal()
		}
		if err != nil {
			s.errorf("%v", err)
		}
	})
	s.logf("%v", count)
	s.checkLost(count.lost, requests)
	g.awaitShare(s, faulty, requests)
}
