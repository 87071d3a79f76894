// SPDX-License-Identifier: Apache-2.0

package upstreams

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/metrics"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
)

// TestLineagesAgainstModel compares a lineageTable, after each change, with the lists
// that it was given, whatever the order.
func TestLineagesAgainstModel(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 14))
		table := newLineageTable()
		lists := make(map[string]metrics.Models)
		for step := range 300 {
			address := fmt.Sprint("node", random.IntN(4))
			var list metrics.Models
			for _, name := range names[random.IntN(2):] {
				m := Model{Name: name, Lineage: name, Root: "/m"}
				switch random.IntN(4) {
				case 0:
					m.Lineage = "b"
				case 1:
					m.Parent = "a"
				}
				list = append(list, m)
			}
			if random.IntN(5) == 0 {
				list = nil
			}
			table.set(address, list)
			if lists[address] = list; list == nil {
				delete(lists, address)
			}
			now := table.current.Load()
			again := newLineageTable()
			for at := range maps.Keys(lists) { // in any order
				again.set(at, lists[at])
			}
			for _, name := range append(names, "other") {
				kin := false
				for at, list := range lists {
					want := list.Find(name)
					got, listed := now.At(at, name)
					if listed != (want != nil) || want != nil && got != *want || want == nil && got != (Model{Name: name, Lineage: name}) {
						t.Fatalf("seed %d, step %d: %q at %s is %+v", seed, step, name, at, got)
					}
					kin = kin || got.Lineage != name || got.Parent != ""
				}
				if now.HasKin(name) != kin || again.current.Load().HasKin(name) != kin {
					t.Fatalf("seed %d, step %d: %q has kin: %v, want %v", seed, step, name, now.HasKin(name), kin)
				}
			}
			if len(now.lists) != len(lists) {
				t.Fatalf("seed %d, step %d: %d upstreams, want %d", seed, step, len(now.lists), len(lists))
			}
		}
	}
}

func TestLineagesAreBounded(t *testing.T) {
	table := newLineageTable()
	for i := range maxListing + 10 {
		table.set(fmt.Sprint("node", i), metrics.Models{{Name: "a", Lineage: "b"}})
	}
	if n := len(table.current.Load().lists); n != maxListing {
		t.Errorf("%d upstreams", n)
	}
}

// tinyAs returns a list as vLLM writes it for these --served-model-name.
func tinyAs(names ...string) string {
	list := ""
	for _, name := range names {
		list += fmt.Sprintf(`,{"id":%q,"owned_by":"vllm","root":"/model","parent":null,"max_model_len":8192}`, name)
	}
	return `{"object":"list","data":[` + list[1:] + `]}`
}

// Lineages are an upstream's own, in the order of its list, and stay known while the
// engine is not asked or does not answer. An engine that is forgotten has none.
func TestLineagesOfEngines(t *testing.T) {
	metricsPage := vllmSays(0, 0, 1000, 100)
	testEngines(t, map[string]string{
		"a:1/metrics": metricsPage, "a:1/v1/models": tinyAs("tiny"),
		"b:1/metrics": metricsPage, "b:1/v1/models": tinyAs("tiny", "small"),
		"c:1/metrics": metricsPage, "c:1/v1/models": tinyAs("small"),
		"d:1/metrics": metricsPage, "d:1/v1/models": tinyAs("small", "tiny"),
	}, []string{"a:1", "b:1", "c:1", "d:1"}, func(e *engineTest) {
		want := func(when, lineages string) {
			t.Helper()
			got := ""
			for _, at := range e.addresses {
				tiny, _ := e.Lineages().At(at, "tiny")
				small, _ := e.Lineages().At(at, "small")
				got += fmt.Sprint(at[:1], " ", tiny.Lineage, " ", small.Lineage, "; ")
			}
			if got != lineages {
				t.Errorf("%s: %s, want %s", when, got, lineages)
			}
		}
		pass := func(d time.Duration) {
			for ; d > 0; d -= time.Second {
				e.refresh()
				time.Sleep(time.Second) // virtual
			}
		}
		want("before they were asked", "a tiny small; b tiny small; c tiny small; d tiny small; ")
		pass(time.Second)
		const usual = "a tiny small; b tiny tiny; c tiny small; d small small; "
		want("listed", usual)
		time.Sleep(5 * time.Minute)
		if _, known := e.Models().Has("b:1", "small"); known {
			t.Error("an engine that is not asked is still known to list a model")
		}
		want("not asked for a while", usual)
		pass(10 * time.Second)
		e.pages.set("b:1/v1/models", "nothing")
		pass(10 * time.Second)
		want("a list that cannot be read", usual)
		e.pages.set("b:1/v1/models", tinyAs("tiny"))
		pass(time.Minute)
		want("an alias went", "a tiny small; b tiny small; c tiny small; d small small; ")
		e.pages.set("b:1/v1/models", tinyAs("tiny", "small"))
		pass(10 * time.Second)
		want("and came back", usual)
		if got := e.Report("b:1"); got.Aliases["small"] != "tiny" || len(got.Aliases) != 1 || got.Adapters != nil {
			t.Errorf("%+v", got)
		}
		e.addresses = e.addresses[:1]
		pass(2 * time.Minute)
		for _, gone := range []string{"b:1", "c:1", "d:1"} {
			e.Forget(gone)
		}
		if e.Lineages().HasKin("small") || e.Lineages().HasKin("tiny") || len(e.Lineages().lists) != 1 {
			t.Error("a lineage of an engine that is gone")
		}
	})
}

// A further name or an adapter changes no tokens; another model under the same name
// may, and so may one that says nothing of itself.
func TestWhichChangesEndEpochs(t *testing.T) {
	adapter := func(list string) string {
		return list[:len(list)-2] + `,{"id":"sql","owned_by":"vllm","root":"/sql","parent":"tiny","max_model_len":null}]}`
	}
	for _, c := range []struct {
		name, before, after string
		tiny, sql           bool // their epochs end
	}{
		{"an alias comes", tinyAs("tiny"), tinyAs("tiny", "small"), false, false},
		{"an alias goes", tinyAs("tiny", "small"), tinyAs("tiny"), false, false},
		{"an adapter comes", tinyAs("tiny"), adapter(tinyAs("tiny")), false, true},
		{"an adapter goes", adapter(tinyAs("tiny")), tinyAs("tiny"), false, false},
		{"another root", tinyAs("tiny"), `{"data":[{"id":"tiny","root":"/other"}]}`, true, false},
		{"it was an alias", tinyAs("small", "tiny"), tinyAs("tiny"), false, false},
		{"it says nothing", `{"data":[{"id":"tiny"}]}`, `{"data":[{"id":"tiny"},{"id":"sql"}]}`, true, true},
	} {
		testEngines(t, map[string]string{"a:1/metrics": vllmSays(0, 0, 1000, 100), "a:1/v1/models": c.before}, []string{"a:1"}, func(e *engineTest) {
			read := func() {
				for range 5 {
					e.refresh()
					time.Sleep(time.Second) // virtual
				}
			}
			read()
			space := func(model string) kvindex.Space {
				return e.router.Index().Space(kvindex.TokenKey{Model: model, BlockTokens: 16})
			}
			tiny, sql := space("tiny"), space("sql")
			e.pages.set("a:1/v1/models", c.after)
			read()
			if (space("tiny") != tiny) != c.tiny || (space("sql") != sql) != c.sql {
				t.Errorf("%s: the epoch of tiny has ended: %v; that of sql: %v", c.name, space("tiny") != tiny, space("sql") != sql)
			}
		})
	}
}
