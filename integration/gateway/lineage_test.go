// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// startWith starts an engine that serves these names: the first for a model, the others
// for the same one.
func startWith(t *testing.T, names ...string) *enginesim.Engine {
	t.Helper()
	return harness.StartEngines(t, 1, enginesim.Config{Speed: 100, OutputTokens: 2, Models: names[:1], Aliases: names[1:]})[0]
}

// awaitModels waits until the engines' lists of models are known.
func awaitModels(t *testing.T, g *harness.Gateway, models string, engines ...*enginesim.Engine) {
	t.Helper()
	harness.Await(t, "the lists of models are read", func() bool {
		g.Post(t, harness.ChatPath, harness.Ask(models, "hello", false, 1)) // engines in use are asked often
		for _, e := range engines {
			if harness.Upstream(t, e).Engine.Models == 0 {
				return false
			}
		}
		return true
	})
}

// lineageAt holds what explain says of a model at one upstream.
type lineageAt struct {
	Cached          int `json:"cached_tokens"`
	Lineage, Parent string
}

// explainAt explains a prompt for a model, by upstream.
func explainAt(t *testing.T, model, text string) map[string]lineageAt {
	t.Helper()
	var e struct {
		Upstreams []struct {
			Address string
			lineageAt
		}
	}
	_, answer := harness.Admin(t, http.MethodPost, "/kv_aware/explain", harness.Ask(model, text, false, 2))
	if err := json.Unmarshal([]byte(answer), &e); err != nil || len(e.Upstreams) == 0 {
		t.Fatalf("%v: %s", err, answer)
	}
	all := make(map[string]lineageAt)
	for _, u := range e.Upstreams {
		all[u.Address] = u.lineageAt
	}
	return all
}

// TestNamesOfOneModelShareHistory: what an engine has computed under one name of its
// model is predicted under its other names, before and after a reload. At an engine
// where the name stands for another model it is not.
func TestNamesOfOneModelShareHistory(t *testing.T) {
	tiny, both, other := startWith(t, "tiny"), startWith(t, "tiny", "small"), startWith(t, "small")
	engines := []*enginesim.Engine{tiny, both, other}
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, ""))
	awaitModels(t, g, "tiny", engines...)
	rnd := rand.New(rand.NewPCG(9, 14))
	var one, two string // prompts that only the engine with both names has answered
	for _, p := range []struct {
		prompt *string
		model  string
	}{{&one, "tiny"}, {&two, "small"}} {
		for *p.prompt == "" {
			text, before := harness.Words(rnd, 6000), both.Stats().Requests
			g.Must(t, harness.Ask(p.model, text, false, 2))
			if both.Stats().Requests > before {
				*p.prompt = text
			}
		}
	}
	check := func(when string) {
		t.Helper()
		for _, text := range []string{one, two} {
			for _, name := range []string{"tiny", "small"} {
				got := explainAt(t, name, text)
				if at := got[both.Addr()]; at.Cached < 1400 || (at.Lineage == "tiny") != (name == "small") {
					t.Errorf("%s: as %s at the engine with both names: %+v", when, name, at)
				}
				for address, at := range got {
					if address != both.Addr() && (at.Cached > 0 || at.Lineage != "" || at.Parent != "") {
						t.Errorf("%s: as %s at another engine: %+v", when, name, at)
					}
				}
				if len(got) != 2 {
					t.Errorf("%s: as %s: %d engines list it, want 2", when, name, len(got))
				}
			}
		}
	}
	check("at first")
	slices.Reverse(engines)
	g.Reload(t, "caddyfile", harness.PolicySite(engines, ""))
	check("after a reload, in another order")
	g.Must(t, harness.Ask("small", one+" And then?", false, 2)) // goes where its prefix is
	if n := other.Stats().CachedTokens; n != 0 {
		t.Errorf("%d tokens cached at the other model's engine", n)
	}
	if c := both.Stats().CachedTokens; c < 1400 {
		t.Errorf("a further turn under the other name found %d tokens cached", c)
	}
	var report []struct {
		Address string
		Engine  struct{ Aliases, Adapters map[string]string }
	}
	_, answer := harness.Admin(t, http.MethodGet, "/kv_aware/upstreams", "")
	if err := json.Unmarshal([]byte(answer), &report); err != nil {
		t.Fatal(err)
	}
	for _, u := range report {
		want := 0
		if u.Address == both.Addr() {
			want = 1
		}
		if len(u.Engine.Aliases) != want || u.Engine.Aliases["small"] != map[int]string{1: "tiny"}[want] || u.Engine.Adapters != nil {
			t.Errorf("%s: %+v", u.Address, u.Engine)
		}
	}
}

// TestAnAdapterLearnsFromItsModel: an adapter shares no blocks with its model, but the
// size of its tokens. Loading one at run time leaves what is known of the model.
func TestAnAdapterLearnsFromItsModel(t *testing.T) {
	engine := startWith(t, "base", "alias")
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite([]*enginesim.Engine{engine}, ""))
	awaitModels(t, g, "base", engine)
	text := harness.Words(rand.New(rand.NewPCG(10, 14)), 6000)
	estimate := func(model string) (tokens int) {
		t.Helper()
		var e struct {
			Tokens int `json:"prompt_tokens"`
		}
		_, answer := harness.Admin(t, http.MethodPost, "/kv_aware/explain", harness.Ask(model, text, false, 2))
		if err := json.Unmarshal([]byte(answer), &e); err != nil {
			t.Fatal(err)
		}
		return e.Tokens
	}
	unlearned := estimate("base")
	for range 20 {
		g.Must(t, harness.Ask("base", text, false, 2))
	}
	learned := estimate("base")
	if learned == unlearned {
		t.Fatal("nothing was learned: this proves nothing")
	}
	engine.LoadAdapter("sql")
	harness.Await(t, "the adapter is known", func() bool {
		g.Must(t, harness.Ask("base", text, false, 2))
		return harness.Upstream(t, engine).Engine.Models == 3
	})
	for _, name := range []string{"alias", "sql"} {
		if got := estimate(name); got < learned-1 || got > learned+1 {
			t.Errorf("%s: estimated at %d tokens, its model's at %d, and %d before any was learned", name, got, learned, unlearned)
		}
	}
	if at := explainAt(t, "sql", text)[engine.Addr()]; at != (lineageAt{0, "", "base"}) {
		t.Errorf("the adapter: %+v", at)
	}
	if at := explainAt(t, "alias", text)[engine.Addr()]; at.Cached < 1400 || at.Lineage != "base" {
		t.Errorf("the model under its other name, with the adapter loaded: %+v", at)
	}
	g.Must(t, harness.Ask("sql", text, false, 2))
	if at := explainAt(t, "sql", text)[engine.Addr()]; at.Cached < 1400 {
		t.Errorf("the adapter again: %+v", at)
	}
	engine.UnloadAdapter("sql")
	harness.Await(t, "the adapter is gone", func() bool {
		g.Must(t, harness.Ask("base", fmt.Sprint("hello ", rand.Uint64()), false, 2))
		return harness.Upstream(t, engine).Engine.Models == 2
	})
	if at := explainAt(t, "base", text)[engine.Addr()]; at.Cached < 1400 {
		t.Errorf("the model, with the adapter gone: %+v", at)
	}
}
