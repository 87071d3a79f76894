// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// The paced traffic of a site: some requests in 20 seconds.
const (
	requestsOfRow = 400
	pause         = 50 * time.Millisecond
)

// traffic returns the number of requests of a site and the time between two.
func (s *site) traffic() (requests int, interval time.Duration) {
	if s.setup.checksHealth {
		return requestsOfRow / 2, 2 * pause
	}
	return requestsOfRow, pause
}

// checkLost reports more lost requests than a site may lose.
func (s *site) checkLost(lost, requests int) {
	if most := requests / 50; s.setup.ours && lost > most {
		s.errorf("%d of %d requests are lost, want at most %d", lost, requests, most)
	}
}

// scenario is one site and what happens there.
type scenario struct {
	site *site
	run  func(g *gateway, s *site)
}

// Scenarios that take turns: those of the first test are paced and take most of a
// minute; those of the second take ten seconds, with few requests for each of many
// configs; those of the third take all of the machine.
func TestPacedFaults(t *testing.T) {
	runScenarios(t, lastingScenarios(t), laterScenarios(t), partialScenarios(t), hiccupScenarios(t),
		stallScenarios(t), slowScenarios(t), dynamicScenarios(t))
}

func TestCutsAndHolders(t *testing.T) {
	runScenarios(t, holderScenarios(t), cutScenarios(t), briefScenarios(t))
}

func TestClosedConnections(t *testing.T) { runScenarios(t, closingScenarios(t)) }

// runScenarios runs scenarios at the same time in one Caddy, and reports on each
// as a subtest.
func runScenarios(t *testing.T, tables ...[]scenario) {
	t.Helper()
	if testing.Short() {
		t.Skip("waits for ejected engines to be probed")
	}
	all := slices.Concat(tables...)
	sites := make([]*site, len(all))
	for i, c := range all {
		sites[i] = c.site
	}
	harness.Log.Reset()
	g := startGateway(t, sites)
	stop := g.reloading(t)
	var running sync.WaitGroup
	for _, c := range all {
		running.Go(func() { c.run(g, c.site) })
	}
	running.Wait()
	stop()
	for _, s := range sites {
		t.Run(s.host, s.show)
	}
	checkNothingIsLeft(t)
}
