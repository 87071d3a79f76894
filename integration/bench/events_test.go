// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// arm is one way to route, with engines of its own.
type arm struct {
	path    string
	engines []*enginesim.Engine
	client  *http.Client // for requests that do not come through the gateway

	mu   sync.Mutex
	seen []harness.Prediction
}

// unseen marks requests that did not come through the gateway.
const unseen = "X-Unseen"

// ask sends a conversation's next turn and keeps the prediction.
func (a *arm) ask(b *testing.B, g *harness.Gateway, c *harness.Conversation, text string) {
	p := g.Predict(b, a.path+harness.ChatPath, c.Say(text))
	c.Answered(p.Answer)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, p)
}

// direct sends an engine a request that the gateway does not see.
func (a *arm) direct(b *testing.B, engine int, body string) (answer string) {
	r, err := http.NewRequest(http.MethodPost, a.engines[engine].URL()+harness.ChatPath, strings.NewReader(body))
	if err != nil {
		b.Error(err)
		return ""
	}
	r.Header.Set(unseen, "yes")
	resp, err := a.client.Do(r)
	if err != nil {
		b.Error(err)
		return ""
	}
	defer resp.Body.Close()
	var c harness.Completion
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil || len(c.Choices) == 0 {
		b.Errorf("an engine's answer: %v", err)
		return ""
	}
	return c.Choices[0].Message.Content
}

// figures are the results of an arm.
type figures struct {
	long, short         float64 // mean error of prompts of 4k tokens and more, and of others
	prompts, longOnes   int
	hitRate             float64
	mean, median, slow  time.Duration // time to first token, in simulated time; slow is p90
	exact, under, above int           // long prompts by the sign of their error
}

func (a *arm) figures() (f figures) {
	var tokens, cached int
	for _, p := range a.seen {
		tokens += p.Tokens
		cached += p.Reported
		if p.Tokens < 4096 {
			f.short += p.RelativeError()
			continue
		}
		f.long += p.RelativeError()
		f.longOnes++
		switch {
		case p.Predicted == p.Reported:
			f.exact++
		case p.Predicted < p.Reported:
			f.under++
		default:
			f.above++
		}
	}
	f.prompts = len(a.seen)
	f.long /= float64(max(1, f.longOnes))
	f.short /= float64(max(1, f.prompts-f.longOnes))
	f.hitRate = float64(cached) / float64(tokens)
	ttft := a.ttft()
	for _, t := range ttft {
		f.mean += t / time.Duration(len(ttft))
	}
	f.median, f.slow = quantile(ttft, 0.5), quantile(ttft, 0.9)
	return f
}

// ttft returns the times to first token of what came through the gateway,
// sorted.
func (a *arm) ttft() (all []time.Duration) {
	for _, e := range a.engines {
		ours := make(map[int64]bool)
		for _, got := range e.Received() {
			ours[got.Request] = got.Header.Get(unseen) == "" && strings.HasSuffix(got.Path, harness.ChatPath)
		}
		for _, s := range e.Served() {
			if ours[s.Request] {
				all = append(all, s.TTFT)
			}
		}
	}
	slices.Sort(all)
	return all
}

// BenchmarkEvents compares routing by KV events with routing by what was sent
// where: caches far too small, and another gateway's traffic on the same
// engines. Both ways serve the same conversations at the same time, on engines
// of their own. In the second benchmark every third turn of the conversations
// comes through the other gateway, so that its text is not linked to its tokens
// before the turn after it comes through here.
//
// The error of a prediction includes what engines evict between the decision and
// the prefill, and turns that come before the tokens of the turn before them
// were fetched. Engines and users run faster than real time and the gateway does
// not, so a busy machine makes both more frequent than they are in the field.
// That a prediction is right once the gateway has caught up is a test's matter:
// TestEventsUnderForeignTraffic.
func BenchmarkEvents(b *testing.B) {
	b.Run("one-gateway", func(b *testing.B) { compareEvents(b, false) })
	b.Run("two-gateways", func(b *testing.B) { compareEvents(b, true) })
}

func compareEvents(b *testing.B, split bool) {
	for round := uint64(0); b.Loop(); round++ {
		events, history := eventsAgainstHistory(b, round, split)
		e, h := events.figures(), history.figures()
		line := func(name string, f figures) string {
			return fmt.Sprintf("\n%-12s %10.2f %% %7.2f %% %8.1f %% %8d ms %5d ms %5d ms %6d %5d %5d", name,
				100*f.long, 100*f.short, 100*f.hitRate, f.mean.Milliseconds(), f.median.Milliseconds(), f.slow.Milliseconds(), f.exact, f.under, f.above)
		}
		b.Logf("%d prompts, %d of 4k tokens and more\n"+
			"             error >= 4k   shorter   hit rate   TTFT mean      p50      p90  exact under above%s%s",
			e.prompts, e.longOnes, line("events", e), line("own history", h))
		b.ReportMetric(100*e.long, "%error")
		b.ReportMetric(100*h.long, "history-%error")
		b.ReportMetric(100*e.hitRate, "%hit")
		b.ReportMetric(100*h.hitRate, "history-%hit")
		b.ReportMetric(float64(e.mean.Milliseconds()), "ttft-ms")
		b.ReportMetric(float64(h.mean.Milliseconds()), "history-ttft-ms")
	}
}

// eventsAgainstHistory runs both ways side by side. With split, turns of the
// conversations come through the other gateway too.
func eventsAgainstHistory(b *testing.B, round uint64, split bool) (events, history *arm) {
	const nodes, users, otherUsers, talks, turns = 4, 12, 8, 3, 6
	config := enginesim.Config{
		Speed: eventsSpeed, Record: 10000, CacheBlocks: 2600, OutputTokens: 120, MaxModelLen: 40000, DecodeRate: 100,
	}
	events = &arm{path: "/events", engines: harness.StartPublishingEngines(b, nodes, config), client: harness.NewClient(b)}
	history = &arm{path: "/history", engines: harness.StartPublishingEngines(b, nodes, config), client: harness.NewClient(b)}
	g := harness.StartGateway(b, "caddyfile", fmt.Sprintf(":8080 {\nhandle_path /events/* {\n%s}\nhandle_path /history/* {\n%s}\n}",
		harness.PolicyRoute(events.engines, harness.EventsOption(events.engines[0], 1)),
		harness.PolicyRoute(history.engines, "")))
	system := make([]string, 3)
	for i := range system {
		system[i] = harness.Words(rand.New(rand.NewPCG(9, uint64(i))), 9000)
	}
	stop := make(chan struct{})
	var ours, others sync.WaitGroup
	both := func(do func(*arm)) {
		var wg sync.WaitGroup
		for _, a := range []*arm{events, history} {
			wg.Go(func() { do(a) })
		}
		wg.Wait()
	}
	for user := range users + otherUsers {
		mine := user < users
		rnd := rand.New(rand.NewPCG(uint64(user), round))
		talk := func() {
			c := map[*arm]*harness.Conversation{events: {}, history: {}}
			start := system[rnd.IntN(len(system))]
			both(func(a *arm) { c[a].Begin(start) })
			home := rnd.IntN(nodes) // the other gateway keeps a conversation where it is
			for turn := range turns {
				text := harness.Words(rnd, 2000+rnd.IntN(9000))
				both(func(a *arm) {
					if mine && !(split && turn%3 == 2) {
						a.ask(b, g, c[a], text)
					} else {
						c[a].Answered(a.direct(b, home, c[a].Say(text)))
					}
				})
				pause(rnd, 4*time.Second)
			}
		}
		if mine {
			ours.Go(func() {
				pause(rnd, 6*time.Second) // they do not all come at once
				for range talks {
					talk()
				}
			})
			continue
		}
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					talk()
				}
			}
		})
	}
	ours.Wait()
	close(stop)
	others.Wait()
	return events, history
}

// eventsSpeed is the speed of these engines and users; real time is 1.
const eventsSpeed = 8

// pause waits for a random time of the engines' up to most.
func pause(rnd *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(rnd.Int64N(int64(most))) / eventsSpeed)
}
