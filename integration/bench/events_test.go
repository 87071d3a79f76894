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
	"github.com/caddyserver/caddy/v2"
)

// arm is a gateway's site with engines of its own.
type arm struct {
	path    string
	engines []*enginesim.Engine
	client  *http.Client // for what does not come by the gateway

	mu   sync.Mutex
	seen []harness.Prediction
}

// record returns what an arm has seen.
func (a *arm) record() record {
	r := record{prompts: a.seen}
	for _, e := range a.engines {
		ours := make(map[int64]bool)
		for _, got := range e.Received() {
			ours[got.Request] = got.Header.Get(unseen) == "" && strings.HasSuffix(got.Path, "/chat/completions")
		}
		for _, s := range e.Served() {
			if ours[s.Request] {
				r.ttft = append(r.ttft, s.TTFT)
			}
		}
	}
	return r
}

// ask sends a conversation's next turn and notes what was predicted.
func (a *arm) ask(t *testing.T, g *harness.Gateway, c *harness.Conversation, text string) {
	p := g.Predict(t, a.path+"/v1/chat/completions", c.Say(text))
	c.Answered(p.Answer)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, p)
}

// direct sends an engine a request that the gateway does not see.
func (a *arm) direct(t *testing.T, engine int, body string) (answer string) {
	r, err := http.NewRequest(http.MethodPost, a.engines[engine].URL()+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return ""
	}
	r.Header.Set(unseen, "yes")
	resp, err := a.client.Do(r)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	var v harness.Completion
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || len(v.Choices) == 0 {
		t.Errorf("an engine's answer: %v", err)
		return ""
	}
	return v.Choices[0].Message.Content
}

// figures are what an arm came to.
type figures struct {
	long, short float64 // mean error of prompts of 4k tokens and more, and of others
	prompts     int     // long ones
	hitRate     float64
	ttft        time.Duration // mean, in the engines' time
	p50, p90    time.Duration
}

// record is what was seen of some rounds.
type record struct {
	prompts []harness.Prediction
	ttft    []time.Duration // of each, in no order
}

func (r *record) add(more record) {
	r.prompts, r.ttft = append(r.prompts, more.prompts...), append(r.ttft, more.ttft...)
}

func (r *record) figures() (f figures) {
	var tokens, cached, short int
	for _, p := range r.prompts {
		tokens += p.Tokens
		cached += p.Reported
		if p.Tokens >= 4096 {
			f.long += p.RelativeError()
			f.prompts++
		} else {
			f.short += p.RelativeError()
			short++
		}
	}
	f.long /= float64(max(1, f.prompts))
	f.short /= float64(max(1, short))
	f.hitRate = float64(cached) / float64(tokens)
	times := slices.Sorted(slices.Values(r.ttft))
	for _, ttft := range times {
		f.ttft += ttft / time.Duration(len(times))
	}
	f.p50, f.p90 = times[len(times)/2], times[len(times)*9/10]
	return f
}

// compareEvents runs rounds until they come to what is promised, and fails when
// three of them together do not: no two runs are alike, and who is sent where
// first decides about a lot.
func compareEvents(t *testing.T, split bool, broken func(e, h figures) string) {
	skipComparison(t)
	var events, history record
	for round := range uint64(3) {
		e, h := eventsAgainstHistory(t, round, split)
		events.add(e)
		history.add(h)
		fe, fh := events.figures(), history.figures()
		t.Logf("%d prompts, %d of 4k tokens and more\n"+
			"             error >= 4k   shorter   hit rate   TTFT mean      p50      p90\n"+
			"events       %10.2f %% %7.2f %% %8.1f %% %8d ms %5d ms %5d ms\n"+
			"own history  %10.2f %% %7.2f %% %8.1f %% %8d ms %5d ms %5d ms",
			len(events.prompts), fe.prompts,
			100*fe.long, 100*fe.short, 100*fe.hitRate, fe.ttft.Milliseconds(), fe.p50.Milliseconds(), fe.p90.Milliseconds(),
			100*fh.long, 100*fh.short, 100*fh.hitRate, fh.ttft.Milliseconds(), fh.p50.Milliseconds(), fh.p90.Milliseconds())
		why := broken(fe, fh)
		switch {
		case why == "":
			return
		case round == 2:
			t.Errorf("events: %s", why)
		}
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// skipComparison leaves out what is compared by time where that is another.
func skipComparison(t *testing.T) {
	t.Helper()
	if harness.UnderRace {
		t.Skip("the race detector makes the gateway slow and the engines not; TestEventsFollowAConversation looks for races")
	}
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
}

// eventsAgainstHistory runs both ways side by side. With split, turns of the
// conversations come by the other gateway too.
func eventsAgainstHistory(t *testing.T, round uint64, split bool) (e, h record) {
	const nodes, users, otherUsers, talks, turns = 4, 12, 8, 3, 6
	config := enginesim.Config{
		Speed: eventsSpeed, Record: 10000, CacheBlocks: 2600, OutputTokens: 120, MaxModelLen: 40000, DecodeRate: 100,
	}
	events := &arm{path: "/events", engines: harness.StartPublishingEngines(t, nodes, config), client: harness.NewClient(t)}
	history := &arm{path: "/history", engines: harness.StartPublishingEngines(t, nodes, config), client: harness.NewClient(t)}
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(":8080 {\nhandle_path /events/* {\n%s}\nhandle_path /history/* {\n%s}\n}",
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
						a.ask(t, g, c[a], text)
					} else {
						c[a].Answered(a.direct(t, home, c[a].Say(text)))
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
	return events.record(), history.record()
}

// eventsSpeed is how much faster than real time these engines and users are.
const eventsSpeed = 8

// pause waits for up to a time of the engines'.
func pause(rnd *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(rnd.Int64N(int64(most))) / eventsSpeed)
}

// unseen marks requests that came by another way.
const unseen = "X-Unseen"

// The promise of following events: with caches that are far too small, and
// another gateway's traffic on the same engines, what is cached where is known
// nearly to the token, and routing by it finds more than by what was sent where.
// Both ways serve the same conversations at the same time, on engines of their
// own.
func TestEventsAgainstHistory(t *testing.T) {
	compareEvents(t, false, func(e, h figures) string {
		switch {
		case e.long > 0.02:
			return fmt.Sprintf("off by %.2f %% on average, 2 %% at most are promised", 100*e.long)
		case 5*e.long > h.long:
			return fmt.Sprintf("off by %.2f %%, own history by %.2f %%: not five times as much", 100*e.long, 100*h.long)
		case e.hitRate <= h.hitRate || e.ttft >= h.ttft:
			return fmt.Sprintf("hit rate %.3f and TTFT %v, own history %.3f and %v: no gain", e.hitRate, e.ttft, h.hitRate, h.ttft)
		}
		return ""
	})
}

// The same where every third turn of the conversations themselves comes by the
// other gateway: what is said there is not linked before it comes by here.
func TestEventsOfConversationsByTwoGateways(t *testing.T) {
	compareEvents(t, true, func(e, h figures) string {
		if 2*e.long > h.long || e.hitRate <= h.hitRate || e.ttft >= h.ttft {
			return fmt.Sprintf("off by %.2f %%, hit rate %.3f, TTFT %v; own history %.2f %%, %.3f and %v",
				100*e.long, e.hitRate, e.ttft, 100*h.long, h.hitRate, h.ttft)
		}
		return ""
	})
}
