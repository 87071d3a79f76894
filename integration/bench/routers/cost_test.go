// SPDX-License-Identifier: Apache-2.0

//go:build linux

package routers

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// costs are the requests whose price is measured.
var costs = []struct {
	name   string
	size   int
	stream bool
}{
	{"16 KB", 16 << 10, false},
	{"128 KB", 128 << 10, false},
	{"16 KB, streamed", 16 << 10, true},
}

// BenchmarkCost gives the requests that each router serves in a second of its own CPU
// time. The engines answer at once. The routers run side by side and take turns.
func BenchmarkCost(b *testing.B) {
	for _, c := range costs {
		b.Run(c.name, func(b *testing.B) { benchmarkCost(b, c.size, c.stream) })
	}
}

func benchmarkCost(b *testing.B, size int, stream bool) {
	const perRound, atATime = 200, 4
	var engines []string
	for range 4 {
		engine := httptest.NewServer(harness.AnswerAtOnce(50))
		b.Cleanup(engine.Close)
		engines = append(engines, strings.TrimPrefix(engine.URL, "http://"))
	}
	client := harness.NewClient(b)
	text := harness.Words(rand.New(rand.NewPCG(18, uint64(size))), size)
	all := make([]*running, len(routers))
	spent := make([][]time.Duration, len(routers))
	for i, r := range routers {
		all[i] = r.start(b, engines)
	}
	for n := 0; b.Loop(); n++ {
		for i := range all {
			i = (i + n) % len(all)
			before := all[i].cpu(b)
			all[i].load(b, client, text, perRound, atATime, n, stream)
			spent[i] = append(spent[i], all[i].cpu(b)-before)
		}
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for i, r := range routers {
		var sum time.Duration
		for _, d := range spent[i] {
			sum += d
		}
		fmt.Fprintf(w, "%s\t%.0f requests per CPU-second\tin rounds %.0f to %.0f\n", r.name, perRound*float64(len(spent[i]))/sum.Seconds(),
			perRound/slices.Max(spent[i]).Seconds(), perRound/slices.Min(spent[i]).Seconds())
	}
	w.Flush()
	b.Log("\n" + table.String())
}

// load sends prompts that differ from the beginning.
func (s *running) load(b *testing.B, client *http.Client, text string, requests, atATime, round int, stream bool) {
	var all sync.WaitGroup
	for worker := range atATime {
		all.Go(func() {
			for n := range requests / atATime {
				prompt := fmt.Sprintf("Question %d of %d in %d. %s", n, worker, round, text)
				if whole, status := s.chat(client, harness.Chat(prompt, stream)); !whole {
					b.Errorf("%s: status %d", s.name, status)
					return
				}
			}
		})
	}
	all.Wait()
}
