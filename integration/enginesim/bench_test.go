// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkScheduler is the cost of one request of 8,000 cached prompt tokens
// and 100 output tokens, without HTTP.
func BenchmarkScheduler(b *testing.B) {
	s, err := NewScheduler(Config{})
	if err != nil {
		b.Fatal(err)
	}
	chain := make([]uint64, 506)
	for i := range chain {
		chain[i] = uint64(i) + 1
	}
	at := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		j := Job{PromptTokens: 8000, OutputTokens: 100, Chain: chain}
		s.Submit(&j, at)
		for !j.Done {
			at, _ = s.Next()
			s.Advance(at)
		}
	}
}

// BenchmarkStreams runs 200 streams at a time in real time, 50 tokens a second
// each, and reports how late first tokens come and, as B/op's neighbour, what
// a stream costs in CPU (read it beside ns/op of the user time).
func BenchmarkStreams(b *testing.B) {
	e, err := Start(Config{OutputTokens: 50, PrefillRate: 1e6})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	const streams = 200
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: streams}}
	var late, worst time.Duration
	var mu sync.Mutex
	n := 0
	for b.Loop() {
		var wg sync.WaitGroup
		for range streams {
			wg.Go(func() {
				begin := time.Now()
				res, err := client.Post(e.URL()+"/v1/completions", "", strings.NewReader(`{"prompt":"hello","stream":true}`))
				if err != nil {
					b.Error(err)
					return
				}
				defer res.Body.Close()
				in := bufio.NewReader(res.Body)
				_, _ = in.ReadString('\n')
				first := time.Since(begin)
				_, _ = io.Copy(io.Discard, in)
				mu.Lock()
				late += first
				worst = max(worst, first)
				n++
				mu.Unlock()
			})
		}
		wg.Wait()
	}
	var simulated time.Duration
	served := e.Served()
	for _, s := range served {
		simulated += s.TTFT
	}
	b.ReportMetric(float64((late/time.Duration(n)-simulated/time.Duration(len(served))).Microseconds()), "µs-late/first-token")
	b.ReportMetric(float64(worst.Microseconds()), "µs-worst-TTFT")
}
