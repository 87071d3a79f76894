// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// explained is the answer of POST /kv_aware/explain, as far as tests read it.
type explained struct {
	Findings  int
	Upstreams []struct{ Address string }
}

func explain(t *testing.T, body string) (e explained) {
	t.Helper()
	_, answer := harness.Admin(t, http.MethodPost, "/kv_aware/explain", body)
	if err := json.Unmarshal([]byte(answer), &e); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return e
}

func (e explained) addresses() (all []string) {
	for _, u := range e.Upstreams {
		all = append(all, u.Address)
	}
	slices.Sort(all)
	return all
}

// What a request for one model would do does not depend on the model of the
// request before.
func TestExplainListsTheEnginesOfTheModel(t *testing.T) {
	m := harness.StartEngines(t, 1, enginesim.Config{Models: []string{"m"}})[0]
	n := harness.StartEngines(t, 1, enginesim.Config{Models: []string{"n"}})[0]
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite([]*enginesim.Engine{m, n}, ""))
	g.Must(t, harness.Ask("m", "hello", false, 2))
	harness.Await(t, "both lists of models are read", func() bool {
		all := harness.Upstreams(t)
		return all[m.Addr()].Engine.Models == 1 && all[n.Addr()].Engine.Models == 1
	})
	g.Must(t, harness.Ask("m", "hello again", false, 2))
	for model, engine := range map[string]*enginesim.Engine{"m": m, "n": n} {
		if got := explain(t, harness.Ask(model, "hello", false, 2)).addresses(); !slices.Equal(got, []string{engine.Addr()}) {
			t.Errorf("model %s: %v, want only %s", model, got, engine.Addr())
		}
	}
}

// Dynamic upstreams show only when a request comes.
func TestExplainOfDynamicUpstreams(t *testing.T) {
	engine := harness.StartEngines(t, 1, enginesim.Config{})[0]
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(`:8080 {
		pii_janitor
		reverse_proxy {
			dynamic a 127.0.0.1 %s
			lb_policy kv_aware
		}
	}`, harness.PortOf(engine.Addr())))
	_, _, err := harness.TryAdmin(http.MethodPost, "/kv_aware/explain", harness.Chat("hello", false))
	refused, ok := err.(caddy.APIError)
	if !ok || refused.HTTPStatus != http.StatusConflict || !strings.Contains(refused.Err.Error(), "dynamic") {
		t.Fatalf("before any request: %v", err)
	}
	g.Must(t, harness.Chat("hello", false))
	if got := explain(t, harness.Chat("hello", false)).addresses(); !slices.Equal(got, []string{engine.Addr()}) {
		t.Errorf("after a request: %v, want %s", got, engine.Addr())
	}
}

// With several janitors explain uses the one ahead of the proxy.
func TestExplainUsesTheJanitorAheadOfTheProxy(t *testing.T) {
	engine := harness.StartEngines(t, 1, enginesim.Config{})[0]
	other := func(path string) string {
		return "route " + path + " {\n pii_janitor {\n recognizers -email\n }\n respond 204\n }\n"
	}
	harness.StartGateway(t, "caddyfile", ":8080 {\n"+other("/before/*")+fmt.Sprintf(`
		route /v1/* {
			pii_janitor
			reverse_proxy %s {
				lb_policy kv_aware
			}
		}
	`, engine.Addr())+other("/after/*")+"}")
	if e := explain(t, harness.Chat("I am ann@example.com.", false)); e.Findings != 1 {
		t.Errorf("%d findings, want that of the janitor with all recognizers", e.Findings)
	}
}
