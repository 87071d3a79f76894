// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// partialFault is a fault that leaves some requests whole, or that several engines
// have. No single engine is to be left out for good.
type partialFault struct {
	name  string
	begin func(nodes []*node) error
}

var partialFaults = []partialFault{
	{"resets half its connections", func(nodes []*node) error {
		return nodes[0].toxicSometimes("reset_peer", "upstream", 0.5, nil)
	}},
	{"two refuse", func(nodes []*node) error {
		nodes[0].proxy.Stop()
		nodes[1].proxy.Stop()
		return nil
	}},
	{"three fail", func(nodes []*node) error {
		for _, n := range nodes[:3] {
			if err := n.engine.Fault(enginesim.Fault{Kind: enginesim.Status, Status: http.StatusInternalServerError}); err != nil {
				return err
			}
		}
		return nil
	}},
}

func partialScenarios(t *testing.T) (all []scenario) {
	for _, f := range partialFaults {
		for _, in := range []setup{start, leastConn} {
			s := newSite(t, f.name, in, startNodes(t, engineConfig, 2, 4))
			all = append(all, scenario{s, func(g *gateway, s *site) { g.runPartial(s, f) }})
		}
	}
	return all
}

func (g *gateway) runPartial(s *site, f partialFault) {
	if err := f.begin(s.nodes); err != nil {
		s.errorf("%v", err)
		return
	}
	count := g.pace(s, 0, requestsOfRow, pause, s.request, nil)
	s.logf("%v; the engines received %d", count, s.received())
	s.checkLost(count.lost, requestsOfRow)
}

// A hiccup is one failure. It does not eject an engine, and is soon forgotten.
func hiccupScenarios(t *testing.T) []scenario {
	s := newSite(t, "fails once", start, startNodes(t, engineConfig, 0, 4))
	return []scenario{{s, (*gateway).runHiccup}}
}

// runHiccup has the first engine fail one request, and then no more.
func (g *gateway) runHiccup(s *site) {
	faulty := s.nodes[0]
	err := faulty.engine.Fault(enginesim.Fault{Kind: enginesim.Status, Status: http.StatusInternalServerError, Count: 1})
	if err != nil {
		s.errorf("%v", err)
		return
	}
	count := g.pace(s, 0, firstRequests, pause, s.request, nil)
	s.checkLost(count.lost, requestsOfRow)
	g.awaitShare(s, faulty, firstRequests)
}
