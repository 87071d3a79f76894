// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// holderFault is a fault of the engine that holds a conversation.
type holderFault struct {
	name    string
	fault   enginesim.Fault
	turns   int
	mostAt  int           // turns that may go to the holder, without probes
	patient time.Duration // of the client
	pause   time.Duration // between two turns
}

var holderFaults = []holderFault{
	{"a holder hangs", enginesim.Fault{Kind: enginesim.Hang}, 8, 2, 3 * time.Second, 0},
	{"a holder fails", enginesim.Fault{Kind: enginesim.Status, Status: http.StatusInternalServerError}, 25, 3, time.Minute, 40 * time.Millisecond},
}

func holderScenarios(t *testing.T) (all []scenario) {
	for _, f := range holderFaults {
		for _, in := range slices.Concat(documented, examples) {
			s := newSite(t, f.name, in, in.startNodes(t, engineConfig, 4))
			all = append(all, scenario{s, func(g *gateway, s *site) { g.runHolder(s, f) }})
		}
	}
	return all
}

// Requests and turns before the fault.
const (
	warmRequests = 64
	warmTurns    = 3
)

// runHolder warms the engines and a conversation, makes its holder fail, and goes
// on with the conversation.
func (g *gateway) runHolder(s *site, f holderFault) {
	g.pace(s, 0, warmRequests, pause, s.request, nil)
	before := s.attempts()
	const name = "the long conversation"
	for turn := range warmTurns {
		if lost := g.send(context.Background(), s, conversationTurn(s.host+name, turn, false)); lost != "" {
			s.errorf("turn %d: %s", turn, lost)
			return
		}
	}
	holder := 0
	warmed := s.attempts()
	for i, n := range warmed {
		if n-before[i] > warmed[holder]-before[holder] {
			holder = i
		}
	}
	engine := s.nodes[holder].engine
	if err := engine.Fault(f.fault); err != nil {
		s.errorf("%v", err)
		return
	}
	at, began := s.attempts()[holder], time.Now()
	var count tally
	patience := f.patient
	if !s.setup.ours {
		patience = min(patience, noPatience) // many turns hang there
	}
	for turn := range f.turns {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		count.add(g.send(ctx, s, conversationTurn(s.host+name, warmTurns+turn, true)))
		cancel()
		time.Sleep(f.pause)
	}
	went := s.attempts()[holder] - at
	probes := probes(s.nodes[holder], time.Since(began))
	s.logf("%d of %d turns went to the holder, %d probes among them; %v", went, f.turns, probes, &count)
	if s.setup.ours && went-probes > f.mostAt {
		s.errorf("%d of %d turns and %d probes went to the holder, want at most %d turns", went-probes, f.turns, probes, f.mostAt)
	}
	if err := engine.Heal(); err != nil {
		s.errorf("%v", err)
	}
}

// attempts returns the number of requests that were sent to each engine. Without
// the plugin only the engine counts them, and it counts requests for tokens too.
func (s *site) attempts() []int {
	all := make([]int, len(s.nodes))
	for i, n := range s.nodes {
		if s.setup.ours {
			all[i] = picks(n)
		} else {
			all[i] = int(n.engine.Stats().Requests)
		}
	}
	return all
}

// received returns the number of requests that each engine has received.
func (s *site) received() []int64 {
	all := make([]int64, len(s.nodes))
	for i, n := range s.nodes {
		all[i] = n.engine.Stats().Requests
	}
	return all
}
