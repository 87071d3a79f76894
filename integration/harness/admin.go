// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/kvaware"
)

// Admin calls the kv_aware admin API of this process.
func Admin(t testing.TB, method, path, body string) (status int, answer string) {
	t.Helper()
	status, answer, err := TryAdmin(method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return status, answer
}

// TryAdmin is Admin for any goroutine. The error is the one that Caddy would
// answer with.
func TryAdmin(method, path, body string) (status int, answer string, err error) {
	pattern, _, _ := strings.Cut(path, "?")
	for _, route := range (kvaware.Admin{}).Routes() {
		if route.Pattern == pattern || strings.HasSuffix(route.Pattern, "/") && strings.HasPrefix(pattern, route.Pattern) {
			rec := httptest.NewRecorder()
			err := route.Handler.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
			return rec.Code, rec.Body.String(), err
		}
	}
	return 0, "", errors.New("there is no such route")
}

// UpstreamReport is one upstream in the admin API, as far as tests read it.
type UpstreamReport struct {
	Address        string
	Requests       int
	WaitMS         float64 `json:"wait_ms"`
	Capacity       int64
	CapacitySource string `json:"capacity_source"`
	Engine         struct {
		Kind    string
		ReadAgo *float64 `json:"read_seconds_ago"`
		Failure string
		Refused bool
		Running int
		Waiting int
		Models  int
	}
	Events []PublisherReport
	Tokens struct {
		Waiting                  int
		Fetched, Failed, Dropped uint64
		Failure                  string
	}
}

// PublisherReport is one publisher of KV events in the admin API.
type PublisherReport struct {
	Rank           int
	Connected      bool
	Known          string
	Lag            *float64 `json:"lag_seconds"`
	Batches        uint64
	Events         uint64
	Gaps           uint64
	Losses         uint64
	Replays        uint64
	Restarts       uint64
	Malformed      uint64
	Blocks         uint64
	UnknownParents uint64 `json:"unknown_parents"`
	BlockTokens    int    `json:"block_tokens"`
	Failure        string
}

// Upstreams returns the report of each upstream, by address.
func Upstreams(t testing.TB) map[string]UpstreamReport {
	t.Helper()
	var all []UpstreamReport
	_, answer := Admin(t, http.MethodGet, "/kv_aware/upstreams", "")
	if err := json.Unmarshal([]byte(answer), &all); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	byAddress := make(map[string]UpstreamReport)
	for _, r := range all {
		byAddress[r.Address] = r
	}
	return byAddress
}

// Upstream returns the report of one engine, which is zero before the gateway
// knows the engine.
func Upstream(t testing.TB, e *enginesim.Engine) UpstreamReport {
	t.Helper()
	return Upstreams(t)[e.Addr()]
}

// Publishers returns the reports of an engine's publishers.
func Publishers(t testing.TB, e *enginesim.Engine) []PublisherReport {
	t.Helper()
	return Upstream(t, e).Events
}

// EventsKnown reports whether the gateway's knowledge of every rank of the
// engines equals how: "complete", "partial" or "unknown".
func EventsKnown(t testing.TB, how string, engines ...*enginesim.Engine) bool {
	t.Helper()
	for _, e := range engines {
		ranks := Publishers(t, e)
		for _, r := range ranks {
			if r.Known != how || r.Connected != (how != "unknown") {
				return false
			}
		}
		if len(ranks) == 0 {
			return false
		}
	}
	return true
}

// Forecast returns the number of a prompt's tokens that each engine is
// predicted to have cached now, by address. It sends the engines nothing.
func Forecast(t testing.TB, body string) map[string]int {
	t.Helper()
	cached, _ := Forecasts(t, body)
	return cached
}

// Forecasts is Forecast. It also returns the tokens that are predicted to be loaded
// from outside the GPU.
func Forecasts(t testing.TB, body string) (cached, external map[string]int) {
	t.Helper()
	var e struct {
		Upstreams []struct {
			Address  string
			Cached   int `json:"cached_tokens"`
			External int `json:"external_tokens"`
		}
	}
	_, answer := Admin(t, http.MethodPost, "/kv_aware/explain", body)
	if err := json.Unmarshal([]byte(answer), &e); err != nil || len(e.Upstreams) == 0 {
		t.Fatalf("%v: %s", err, answer)
	}
	cached, external = make(map[string]int), make(map[string]int)
	for _, u := range e.Upstreams {
		cached[u.Address], external[u.Address] = u.Cached, u.External
	}
	return cached, external
}
