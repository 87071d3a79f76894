// SPDX-License-Identifier: Apache-2.0

//go:build linux

package routers

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// sessionSpeed is the speed of sessions and engines; real time is 1.
const sessionSpeed = 10

// BenchmarkSessions sends the prompts of agent sessions through each router, to four
// simulated engines that begin with empty caches. Hits and TTFT are as the engines
// count them, in simulated time. Between light and loaded, the agents' own time
// between turns shrinks.
func BenchmarkSessions(b *testing.B) {
	sessions, recorded := harness.AgentSessions(b)
	if !recorded {
		b.Log("the recorded sessions are missing: these are generated ones")
	}
	for _, load := range []struct {
		name string
		gaps float64 // factor of the agents' own time
	}{{"light", 1}, {"loaded", 0.1}} {
		b.Run(load.name, func(b *testing.B) {
			for b.Loop() {
				var table strings.Builder
				w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
				fmt.Fprintf(w, "router\thit rate\tTTFT mean\tp95\tlost\n")
				for _, r := range routers {
					hits, ttft, lost := r.runSessions(b, sessions, load.gaps)
					fmt.Fprintf(w, "%s\t%.1f %%\t%d ms\t%d ms\t%d\n", r.name, 100*hits, mean(ttft).Milliseconds(), quantile(ttft, .95).Milliseconds(), lost)
				}
				w.Flush()
				b.Log("\n" + table.String())
			}
		})
	}
}

// runSessions starts engines and the router, and sends all sessions side by side.
func (r router) runSessions(b *testing.B, sessions [][]harness.Turn, gaps float64) (hits float64, ttft []time.Duration, lost int) {
	engines := harness.StartEngines(b, 4, enginesim.Config{
		Models: []string{"sim"}, CacheBlocks: 150_000 / 16, MaxModelLen: 120_000, OutputTokens: 16, Speed: sessionSpeed,
	})
	s := r.start(b, strings.Fields(harness.Addresses(engines)))
	client := harness.NewClient(b)
	lostTurns := make(chan string, 10_000)
	var all sync.WaitGroup
	for i, session := range sessions {
		all.Go(func() {
			time.Sleep(time.Duration(float64(i) * gaps * float64(time.Second/sessionSpeed)))
			for n, turn := range session {
				if n > 0 {
					gap := min(5*time.Second, time.Duration(turn.Timestamp-session[n-1].Timestamp)*time.Microsecond)
					time.Sleep(time.Duration(float64(gap) * gaps / sessionSpeed))
				}
				if whole, _ := s.chat(client, harness.Chat(turn.Input, true)); !whole {
					lostTurns <- turn.Session
				}
			}
		})
	}
	all.Wait()
	for _, e := range engines {
		for _, served := range e.Served() {
			ttft = append(ttft, served.TTFT)
		}
	}
	slices.Sort(ttft)
	return harness.HitRate(engines), ttft, len(lostTurns)
}

func mean(sorted []time.Duration) (m time.Duration) {
	for _, d := range sorted {
		m += d
	}
	return m / time.Duration(max(1, len(sorted)))
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}
