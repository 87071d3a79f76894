// SPDX-License-Identifier: Apache-2.0

package faults

import "testing"

// slowdown divides the speed of one engine; the other three are equal.
const slowdown = 10

func slowScenarios(t *testing.T) (all []scenario) {
	slow := engineConfig
	slow.Speed /= slowdown
	for _, in := range documented {
		nodes := startNodes(t, engineConfig, 0, 3)
		nodes = append([]*node{startNode(t, slow)}, nodes...)
		all = append(all, scenario{newSite(t, "is slow", in, nodes), (*gateway).runSlow})
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
