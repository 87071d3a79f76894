// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// The streams of the sites where one of four engines cuts every stream.
const (
	cutStreams = 200
	mostCut    = 10
)

func cutScenarios(t *testing.T) (all []scenario) {
	for _, in := range slices.Concat(documented, examples) {
		all = append(all, scenario{newSite(t, "cuts streams", in, in.startNodes(t, engineConfig, 4)), (*gateway).runCut})
	}
	return all
}

// runCut sends streams while the first engine ends each after its second record.
// A stream that has begun cannot be sent again.
func (g *gateway) runCut(s *site) {
	faulty := s.nodes[0]
	if err := faulty.engine.Fault(enginesim.Fault{Kind: enginesim.Cut, Chunks: 2}); err != nil {
		s.errorf("%v", err)
		return
	}
	began := time.Now()
	count := g.pace(s, 0, cutStreams, pause, func(n int) string { return conversationTurn(fmt.Sprint(s.host, n/4), n%4, true) }, nil)
	s.logf("%v", count)
	// Each probe costs a stream. A busy machine needs longer, so there are more.
	cut, most := count.causes[lostCut]+count.causes[lostSilently], mostCut+scheduledProbes(time.Since(began))-scheduledProbes(cutStreams*pause)
	if s.setup.ours && cut > most {
		s.errorf("%d of %d streams are cut, want at most %d", cut, cutStreams, most)
	}
	if n := count.causes[lostSilently]; s.setup.ours && n > 0 {
		s.errorf("%d of %d streams ended without an error event", n, cutStreams)
	}
	s.checkLost(count.lost-cut, cutStreams)
}

// The streams through engines that close each connection after its answer, and the
// number for the sites that get less traffic.
const (
	manyStreams = 2000
	someStreams = 500
	fewStreams  = 200 // for each example
	atATime     = 8
)

func closingScenarios(t *testing.T) (all []scenario) {
	for _, in := range []setup{start, startFailDuration} {
		all = append(all, closingScenario(t, in, manyStreams))
	}
	for _, in := range []setup{options, production, leastConn} {
		all = append(all, closingScenario(t, in, someStreams))
	}
	for _, in := range examples {
		all = append(all, closingScenario(t, in, fewStreams))
	}
	return all
}

func closingScenario(t *testing.T, in setup, streams int64) scenario {
	t.Helper()
	nodes := in.startNodes(t, fastEngine, 2)
	putProxies(t, in, nodes)
	for _, n := range nodes {
		if err := n.toxic(closeAfterAnswerType, "downstream", nil); err != nil {
			t.Fatal(err)
		}
	}
	return scenario{newSite(t, "closes connections", in, nodes), func(g *gateway, s *site) { g.runClosing(s, streams) }}
}

// runClosing sends streams, some at a time, one behind the other. Whether an idle
// connection is closed or about to be used again is a race that the gateway loses
// now and then.
func (g *gateway) runClosing(s *site, streams int64) {
	var count tally
	var next atomic.Int64
	var workers sync.WaitGroup
	for range atATime {
		workers.Go(func() {
			for n := next.Add(1); n <= streams; n = next.Add(1) {
				count.add(g.send(context.Background(), s, conversationTurn(fmt.Sprint(s.host, n), 0, true)))
			}
		})
	}
	workers.Wait()
	s.logf("%v", &count)
	if s.setup.ours && count.lost > 0 {
		s.errorf("%v, want none", &count)
	}
}

// A stream that stalls is overdue after 20 seconds. Clients wait for longer at
// first, and then no more.
const (
	stalledStreams = 40 // in each of two rounds
	stallPatience  = 30 * time.Second
	noPatience     = time.Second
	mostStalled    = 5 // of the second round
)

func stallScenarios(t *testing.T) (all []scenario) {
	for _, in := range []setup{start, leastConn} {
		all = append(all, scenario{newSite(t, "stalls", in, startNodes(t, engineConfig, 0, 4)), (*gateway).runStalled})
	}
	return all
}

// runStalled sends streams while the first engine stops each after its second
// record. When clients have given up on some, others do not go there.
func (g *gateway) runStalled(s *site) {
	faulty := s.nodes[0].engine
	if err := faulty.Fault(enginesim.Fault{Kind: enginesim.Stall, Chunks: 2}); err != nil {
		s.errorf("%v", err)
		return
	}
	stream := func(n int) string { return conversationTurn(fmt.Sprint(s.host, n), 0, true) }
	began := time.Now()
	first := g.paceFor(s, 0, stalledStreams, 2*pause, stallPatience, stream, nil)
	before := faulty.Stats().Requests
	second := g.paceFor(s, stalledStreams, 2*stalledStreams, 2*pause, noPatience, stream, nil)
	went, probes := int(faulty.Stats().Requests-before), probes(s.nodes[0], time.Since(began))
	s.logf("first %v, then %v; %d of these went to the stalling engine, %d probes among them", first, second, went, probes)
	if s.setup.ours && went-probes > mostStalled {
		s.errorf("%d of %d streams went to the stalling engine, want at most %d", went-probes, stalledStreams, mostStalled)
	}
	if err := faulty.Heal(); err != nil {
		s.errorf("%v", err)
	}
}
