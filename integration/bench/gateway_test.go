// SPDX-License-Identifier: Apache-2.0

//go:build unix

package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// benchSite serves the same upstreams as stock Caddy does, and as we do.
const benchSite = `:8080 {
	handle_path /stock/* {
		reverse_proxy %[1]s {
			lb_policy least_conn
		}
	}
	handle_path /ours/* {
		route {
			pii_janitor
			reverse_proxy %[1]s {
				lb_policy kv_aware
			}
		}
	}
}`

// way is one way to the engines, with its measurements.
type way struct {
	name  string
	base  string
	cpu   time.Duration
	took  []time.Duration
	count int
}

// BenchmarkGateway measures the cost of the gateway over stock Caddy with
// least_conn: real HTTP on loopback, engines that answer at once, everything in
// this process. Requests take turns: straight to an engine, through stock Caddy,
// through ours. The first gives the cost of client and engine, which is deducted.
//
// An op is a round of requests, each way. The figures:
//
//	stock-req/cpu-s, ours-req/cpu-s   requests a second of the gateway's CPU time
//	added-p50-us, added-p99-us        how much later an answer is than by stock Caddy
func BenchmarkGateway(b *testing.B) {
	for _, c := range []struct {
		name   string
		size   int
		stream bool
	}{
		{"16KB", 16 << 10, false},
		{"128KB", 128 << 10, false},
		{"16KB-stream", 16 << 10, true},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkGateway(b, c.size, c.stream) })
	}
}

func benchmarkGateway(b *testing.B, size int, stream bool) {
	const perRound = 20
	var dials []string
	var direct string
	for range 4 {
		engine := httptest.NewServer(harness.AnswerAtOnce(32))
		b.Cleanup(engine.Close)
		direct = engine.URL
		dials = append(dials, strings.TrimPrefix(engine.URL, "http://"))
	}
	g := startQuietGateway(b, fmt.Sprintf(benchSite, strings.Join(dials, " ")))
	ways := []*way{{name: "direct", base: direct}, {name: "stock", base: g.URL + "/stock"}, {name: "ours", base: g.URL + "/ours"}}
	bodies := benchBodies(size, stream)
	for _, w := range ways { // connections, pools and the tree are warm
		w.round(b, g.Client, bodies, len(bodies))
		*w = way{name: w.name, base: w.base}
	}
	for n := 0; b.Loop(); n++ {
		for i := range ways {
			ways[(i+n)%len(ways)].round(b, g.Client, bodies, perRound)
		}
	}
	client := ways[0].perRequest()
	for _, w := range ways[1:] {
		b.ReportMetric(float64(time.Second)/float64(max(1, w.perRequest()-client)), w.name+"-req/cpu-s")
	}
	b.ReportMetric(float64((ways[2].perRequest() - ways[1].perRequest()).Microseconds()), "added-cpu-us")
	b.ReportMetric(float64((ways[2].quantile(.5) - ways[1].quantile(.5)).Microseconds()), "added-p50-us")
	b.ReportMetric(float64((ways[2].quantile(.99) - ways[1].quantile(.99)).Microseconds()), "added-p99-us")
	b.ReportMetric(float64(ways[1].quantile(.5).Microseconds()), "stock-p50-us")
	b.ReportMetric(float64(ways[1].quantile(.99).Microseconds()), "stock-p99-us")
}

// round sends requests, one after the other.
func (w *way) round(b *testing.B, client *http.Client, bodies [][]byte, requests int) {
	before := cpuTime(b)
	for range requests {
		begin := time.Now()
		answer, err := client.Post(w.base+"/v1/chat/completions", "application/json", bytes.NewReader(bodies[w.count%len(bodies)]))
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			b.Fatalf("%s: status %d, %v", w.name, answer.StatusCode, err)
		}
		w.took = append(w.took, time.Since(begin))
		w.count++
	}
	w.cpu += cpuTime(b) - before
}

func (w *way) perRequest() time.Duration { return w.cpu / time.Duration(w.count) }

func (w *way) quantile(q float64) time.Duration {
	slices.Sort(w.took)
	return w.took[int(q*float64(len(w.took)-1))]
}

// cpuTime returns the CPU time of this process, garbage collection included.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// startQuietGateway runs a Caddyfile that logs errors only.
func startQuietGateway(b *testing.B, site string) *harness.Gateway {
	b.Helper()
	var config map[string]any
	if err := json.Unmarshal(harness.Adapt(b, "caddyfile", site), &config); err != nil {
		b.Fatal(err)
	}
	config["logging"].(map[string]any)["logs"].(map[string]any)["default"].(map[string]any)["level"] = "ERROR"
	raw, err := json.Marshal(config)
	if err != nil {
		b.Fatal(err)
	}
	if err := caddy.Load(raw, true); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			b.Errorf("stopping Caddy: %v", err)
		}
	})
	return &harness.Gateway{URL: harness.ServerURL(b), Client: harness.NewClient(b)}
}

// benchBodies returns the prompts of 64 conversations.
func benchBodies(size int, stream bool) [][]byte {
	rnd := rand.New(rand.NewPCG(64, uint64(size)))
	words := strings.Fields("the file returns an error when its value is not in range so test the patch again and print every line of that function before you change what it imports")
	bodies := make([][]byte, 64)
	for i := range bodies {
		var text strings.Builder
		for text.Len() < size-150 {
			text.WriteString(words[rnd.IntN(len(words))])
			switch rnd.IntN(12) {
			case 0:
				text.WriteString(".\n")
			case 1:
				fmt.Fprintf(&text, "_%d(", rnd.IntN(1000))
			default:
				text.WriteByte(' ')
			}
		}
		bodies[i] = []byte(harness.Chat(fmt.Sprint("Conversation ", i, ". ", text.String()), stream))
	}
	return bodies
}
