// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bufio"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkScheduler measures one request of 8,000 cached prompt tokens
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

// BenchmarkStreams runs concurrent streams of 50 tokens at 50 tokens per second in
// real time, and reports how much later than simulated the first
// token reaches the client. Run it with `time` for the CPU of both sides.
func BenchmarkStreams(b *testing.B) {
	for _, streams := range []int{1, 20, 200} {
		b.Run(strconv.Itoa(streams), func(b *testing.B) { benchmarkStreams(b, streams) })
	}
}

func benchmarkStreams(b *testing.B, streams int) {
	e, err := Start(Config{OutputTokens: 50})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: streams}}
	var measured, simulated time.Duration
	var mu sync.Mutex
	for b.Loop() {
		var wg sync.WaitGroup
		for range streams {
			wg.Go(func() {
				first := firstToken(b, client, e)
				mu.Lock()
				measured += first
				mu.Unlock()
			})
		}
		wg.Wait()
	}
	served := e.Served()
	for _, s := range served {
		simulated += s.TTFT
	}
	b.ReportMetric(float64((measured-simulated).Microseconds())/float64(len(served)), "µs-late/stream")
}

// firstToken runs one stream and returns its time to first token.
func firstToken(b *testing.B, client *http.Client, e *Engine) time.Duration {
	begin := time.Now()
	res, err := client.Post(e.URL()+"/v1/completions", "", strings.NewReader(`{"prompt":"hello there you","stream":true}`))
	if err != nil {
		b.Error(err)
		return 0
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	_, _ = in.ReadString('\n')
	first := time.Since(begin)
	_, _ = io.Copy(io.Discard, in)
	return first
}
