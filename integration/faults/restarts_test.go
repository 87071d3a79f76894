// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// slowdown is how much slower the slow engine of four equal ones is.
const slowdown = 10

func slowScenarios(t *testing.T) (all []scenario) {
	slow := engineConfig
	slow.Speed /= slowdown
	for _, in := range documented {
		nodes := startNodes(t, engineConfig, 0, 3)
		nodes = append([]*node{startNode(t, slow)}, nodes...)
		all = append(all, scenario{newSite("is slow", in, nodes), (*gateway).runSlow})
	}
	return all
}

// runSlow sends traffic with the first engine slower than the others. The equal
// ones share it: none gets less than half of its share.
func (g *gateway) runSlow(s *site) {
	requests, interval := s.traffic()
	count := g.pace(s, 0, requests, interval, s.request, nil)
	received := s.received()
	s.logf("%v; the slow engine got %d requests, the others %d", count, received[0], received[1:])
	if !s.setup.ours {
		return
	}
	s.checkLost(count.lost, requests)
	share := (int64(requests) - received[0]) / int64(len(received)-1)
	for _, n := range received[1:] {
		if n < share/2 {
			s.errorf("of three equal engines one got %d requests, want half of its share of %d", n, share)
		}
	}
}

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
			s := newSite(f.name, in, startNodes(t, engineConfig, 0, 4))
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
