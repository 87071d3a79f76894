// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// firstRequests is the number of requests in which the gateway learns of a fault.
const firstRequests = 20

// fault is one way in which an engine fails from the start.
type fault struct {
	name  string
	begin func(n *node) error
	kind  string // of the failures, in metrics
	// mayLose is the number of requests that are lost in any case: those with which
	// the gateway finds out that the engine is to blame.
	mayLose int
	// mostAttempts bounds the attempts at the faulty engine after the first
	// requests, without probes.
	mostAttempts int
	// picks: the attempts are counted where the policy picks the engine. The engine
	// does not see them, or sees again what is sent again on a new connection.
	picks bool
}

func status(status int, retryAfter string) func(n *node) error {
	return func(n *node) error {
		return n.engine.Fault(enginesim.Fault{Kind: enginesim.Status, Status: status, RetryAfter: retryAfter})
	}
}

// lasting lists the faults that an engine has from the start and for the whole
// row.
var lasting = []fault{
	{"refuses", func(n *node) error { n.proxy.Stop(); return nil }, "dial", 0, 5, true},
	{"answers 500", status(http.StatusInternalServerError, ""), "status", 0, 5, false},
	{"answers 502", status(http.StatusBadGateway, ""), "status", 0, 5, false},
	{"answers 503", status(http.StatusServiceUnavailable, ""), "limited", 0, 20, false},
	{"answers 429", status(http.StatusTooManyRequests, ""), "limited", 0, 20, false},
	{"answers 429, Retry-After", status(http.StatusTooManyRequests, "5"), "limited", 0, 20, false},
	{"answers 400", status(http.StatusBadRequest, ""), "status", 3, 20, false},
	{"resets behind the body", func(n *node) error { return n.engine.Fault(enginesim.Fault{Kind: enginesim.Reset}) }, "reset", 0, 5, true},
	{"closes in the body", func(n *node) error {
		return n.toxic("limit_data", "upstream", map[string]any{"bytes": 700})
	}, "reset", 0, 5, true},
	{"resets before the body", func(n *node) error { return n.toxic("reset_peer", "upstream", nil) }, "reset", 0, 5, true},
}

func lastingScenarios(t *testing.T) (all []scenario) {
	for _, f := range lasting {
		for _, in := range documented {
			s := newSite(t, f.name, in, startNodes(t, engineConfig, 1, 4))
			all = append(all, scenario{s, func(g *gateway, s *site) { g.runLasting(s, f) }})
		}
	}
	return all
}

// runLasting sends traffic while the first engine fails, heals it, and waits for
// its share to come back.
func (g *gateway) runLasting(s *site, f fault) {
	faulty := s.nodes[0]
	if err := f.begin(faulty); err != nil {
		s.errorf("%v", err)
		return
	}
	attempts := func() int {
		if f.picks && s.setup.ours {
			return picks(faulty)
		}
		return int(faulty.engine.Stats().Requests)
	}
	requests, interval := s.traffic()
	began := time.Now()
	first := g.pace(s, 0, firstRequests, interval, s.request, nil)
	before := attempts()
	rest := g.pace(s, firstRequests, requests, interval, s.request, nil)
	after, probes := attempts()-before, probes(faulty, time.Since(began))
	s.logf("the first %d: %v, %d attempts at the faulty engine; the others: %v, %d attempts, %d probes among them", firstRequests, first, before, rest, after, probes)
	s.checkLost(first.lost+rest.lost-f.mayLose, requests)
	if s.setup.ours && after-probes > f.mostAttempts {
		s.errorf("%d attempts and %d probes went to the faulty engine after the first %d requests, want at most %d attempts", after-probes, probes, firstRequests, f.mostAttempts)
	}
	if s.setup.ours && !s.setup.checksHealth && failures(faulty, f.kind) == 0 {
		s.errorf("no failure of the kind %q is counted", f.kind)
	}
	if err := faulty.heal(); err != nil {
		s.errorf("%v", err)
		return
	}
	g.awaitShare(s, faulty, requests)
}

// The time in which a healed engine gets half its share back, and the requests
// over which its share is measured.
const (
	shareBackWithin = 30 * time.Second
	shareWindow     = 40
)

// awaitShare sends traffic, beginning with the n-th request, until an engine gets
// half its share of it. On a busy machine it sends as many requests as a quiet one
// gets in that time.
func (g *gateway) awaitShare(s *site, healed *node, n int) {
	if !s.setup.ours {
		return
	}
	const step, most = shareWindow / 10, int(shareBackWithin / pause)
	want := int64(shareWindow / len(s.nodes) / 2)
	served := []int64{healed.engine.Stats().Served}
	began, lost := time.Now(), 0
	for sent := 0; sent < most || time.Since(began) < shareBackWithin; sent += step {
		lost += g.pace(s, n+sent, n+sent+step, pause, s.request, nil).lost
		served = append(served, healed.engine.Stats().Served)
		if last := len(served) - 1; last >= 10 && served[last]-served[last-10] >= want {
			s.logf("half its share is back after %.0f s and %d requests", time.Since(began).Seconds(), sent+step)
			s.checkLost(lost, max(sent, 4*shareWindow))
			if leftOut(healed) {
				s.errorf("the metrics say that the engine is still left out")
			}
			return
		}
	}
	s.errorf("%.0f s after it healed, the engine gets less than half its share: after each %d requests it has served %d", time.Since(began).Seconds(), step, served)
}
