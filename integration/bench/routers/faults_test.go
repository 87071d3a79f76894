// SPDX-License-Identifier: Apache-2.0

//go:build linux

package routers

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// faults are the ways in which the first of the four engines fails from the start.
var faults = []struct {
	name  string
	fault enginesim.Fault
}{
	{"refuses", enginesim.Fault{Kind: enginesim.Refuse}},
	{"500", enginesim.Fault{Kind: enginesim.Status, Status: 500, Path: harness.ChatPath}},
	{"503", enginesim.Fault{Kind: enginesim.Status, Status: 503, Path: harness.ChatPath}},
	{"429", enginesim.Fault{Kind: enginesim.Status, Status: 429, Path: harness.ChatPath}},
	{"resets", enginesim.Fault{Kind: enginesim.Reset, Path: harness.ChatPath}},
	{"cuts", enginesim.Fault{Kind: enginesim.Cut, Chunks: 3, Path: harness.ChatPath}},
}

// BenchmarkFaults counts the requests that are lost when one of four engines fails:
// 200 streamed prompts of 8 KB, four at a time.
func BenchmarkFaults(b *testing.B) {
	for b.Loop() {
		var table strings.Builder
		w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
		fmt.Fprint(w, "lost of 200")
		for _, f := range faults {
			fmt.Fprintf(w, "\t%s", f.name)
		}
		fmt.Fprintln(w)
		for _, r := range routers {
			fmt.Fprint(w, r.name)
			for _, f := range faults {
				fmt.Fprintf(w, "\t%d", r.runFault(b, f.fault))
			}
			fmt.Fprintln(w)
		}
		w.Flush()
		b.Log("\n" + table.String())
	}
}

// runFault returns the number of requests that are lost.
func (r router) runFault(b *testing.B, f enginesim.Fault) int64 {
	const requests, atATime = 200, 4
	engines := harness.StartEngines(b, 4, enginesim.Config{Models: []string{"sim"}, OutputTokens: 16, Speed: sessionSpeed})
	s := r.start(b, strings.Fields(harness.Addresses(engines)))
	client := harness.NewClient(b)
	if err := engines[0].Fault(f); err != nil {
		b.Fatal(err)
	}
	var next, lost atomic.Int64
	var all sync.WaitGroup
	for range atATime {
		all.Go(func() {
			for n := next.Add(1); n <= requests; n = next.Add(1) {
				text := fmt.Sprintf("Question %d. %s", n, strings.Repeat("What is in that file? ", 370))
				if whole, _ := s.chat(client, harness.Chat(text, true)); !whole {
					lost.Add(1)
				}
			}
		})
	}
	all.Wait()
	return lost.Load()
}
