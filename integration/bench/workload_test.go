// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/replay"
)

// arrival is one request of a workload, with the time at which it is sent.
type arrival struct {
	At      time.Duration
	Session string
	Input   string
	Output  int // tokens
}

// mixedTraffic returns the requests of growing conversations with a few common
// system prompts, of questions about documents, some of them popular, and of
// prompts that share nothing with any other, in the order of their times.
func mixedTraffic(seed uint64, span time.Duration, chats, questions, single int) []arrival {
	g := &traffic{rnd: rand.New(rand.NewPCG(seed, 5)), span: span}
	system, documents := g.texts("System", 12, 400, 1600), g.texts("Document", 40, 1500, 9000)
	for range chats {
		g.chat(g.common(system))
	}
	for range questions {
		g.add(g.moment(), g.common(documents)+g.text("Question", 40+g.rnd.IntN(120)), 30+g.rnd.IntN(60))
	}
	for range single {
		g.add(g.moment(), g.text("Single", 200+g.rnd.IntN(2500)), 20+g.rnd.IntN(80))
	}
	slices.SortFunc(g.all, func(a, b arrival) int { return cmp.Compare(a.At, b.At) })
	return g.all
}

type traffic struct {
	rnd  *rand.Rand
	span time.Duration
	all  []arrival
}

func (g *traffic) moment() time.Duration { return time.Duration(g.rnd.Int64N(int64(g.span))) }

// common picks one of the texts, the first ones more often.
func (g *traffic) common(texts []string) string {
	return texts[min(len(texts)-1, int(math.Pow(float64(len(texts)+1), g.rnd.Float64()))-1)]
}

// chat adds a conversation: each turn's prompt begins with the turn before it.
func (g *traffic) chat(start string) {
	at, input, session := g.moment()*3/4, start, len(g.all)
	for range 2 + int(g.rnd.ExpFloat64()*4) {
		input += g.text("Turn", 100+int(g.rnd.ExpFloat64()*300))
		g.all = append(g.all, arrival{at, fmt.Sprint("chat ", session), input, 30 + g.rnd.IntN(90)})
		at += 2*time.Second + time.Duration(g.rnd.ExpFloat64()*float64(g.span)/8)
		if at > g.span {
			return
		}
	}
}

func (g *traffic) add(at time.Duration, input string, output int) {
	g.all = append(g.all, arrival{at, fmt.Sprint("single ", len(g.all)), input, output})
}

// texts returns n texts of shortest to longest tokens.
func (g *traffic) texts(name string, n, shortest, longest int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = g.text(name, shortest+g.rnd.IntN(longest-shortest))
	}
	return all
}

// text returns a text with a beginning of its own, of four bytes a token.
func (g *traffic) text(name string, tokens int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %x. ", name, g.rnd.Uint32())
	for b.Len() < 4*tokens {
		b.WriteString([]string{"file ", "line ", "error ", "test ", "patch ", "value ", "return ", "import "}[g.rnd.IntN(8)])
	}
	return b.String()
}

// asTrace returns the requests as a trace for the replay.
func asTrace(t testing.TB, all []arrival) *replay.Trace {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, a := range all {
		if err := enc.Encode(map[string]any{
			"timestamp": a.At.Microseconds(), "input": a.Input, "output": strings.Repeat("tok ", a.Output), "session_id": a.Session,
		}); err != nil {
			t.Fatal(err)
		}
	}
	trace, err := replay.Read(&b, replay.ReadOptions{Format: replay.Text, TimeUnit: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	return trace
}
