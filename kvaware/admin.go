// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/staging"
	"github.com/bauxite/caddy-kvaware/internal/upstreams"
	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Admin{})
}

// Admin adds routes to the admin API that show the state of the gateway:
// figures and upstream addresses only, no prompt, no hash, no key.
//
// Request | Answer
// --------|-------
// `GET /kv_aware/tree` | The prefix tree: bytes, limit, blocks, upstreams, evictions
// `GET /kv_aware/volatile` | How far the process is locked out of the disk, and the number of files still open for writing
// `GET /kv_aware/upstreams` | All upstreams: requests in flight, prefill queued, capacity, failures, and what the engine reports, with the aliases and adapters of its models
// `GET /kv_aware/upstreams/ADDR` | One upstream
// `DELETE /kv_aware/upstreams/ADDR` | Forgets the upstream's blocks and failures, as after a restart of the engine
// `DELETE /kv_aware/upstreams` | Forgets the blocks and failures of all upstreams
// `POST /kv_aware/explain?path=/v1/chat/completions` | Where a request with this body would go, and why (`reason`); `note` says why nothing is predicted for it. Nothing is sent or recorded. With `tenant=NAME` as that tenant
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.kv_aware",
		New: func() caddy.Module { return new(Admin) },
	}
}

const (
	treePath      = "/kv_aware/tree"
	volatilePath  = "/kv_aware/volatile"
	upstreamsPath = "/kv_aware/upstreams"
)

// Routes returns the admin routes.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: treePath, Handler: whileRunning(serveTree)},
		{Pattern: volatilePath, Handler: whileRunning(serveVolatile)},
		{Pattern: upstreamsPath, Handler: whileRunning(serveUpstreams)},
		{Pattern: explainPath, Handler: whileRunning(serveExplain)},
		{Pattern: upstreamsPath + "/", Handler: whileRunning(serveUpstream)},
	}
}

// whileRunning serves h with the process's shared state, while a config uses it.
func whileRunning(h func(*shared, http.ResponseWriter, *http.Request) error) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		s := runningShared()
		if s == nil {
			return apiError(http.StatusNotFound, "no running config uses kv_aware")
		}
		return h(s, w, r)
	})
}

// treeReport is the answer of GET /kv_aware/tree.
type treeReport struct {
	Bytes         int64   `json:"bytes"`
	Limit         int64   `json:"memory_limit"`
	Blocks        int64   `json:"blocks"`
	Runs          int64   `json:"runs"`
	Upstreams     int     `json:"upstreams"`
	Evictions     uint64  `json:"evictions"`
	IndexBytes    int64   `json:"index_bytes"` // share of bytes for links from text to tokens
	Links         int     `json:"links"`       // blocks of text whose tokens are known
	Epochs        uint64  `json:"epochs"`      // how often the links of a model were dropped
	OldestSeconds float64 `json:"oldest_seconds"`
}

func serveTree(s *shared, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return apiError(http.StatusMethodNotAllowed, "this path takes GET")
	}
	t := s.router.Stats()
	return writeJSON(w, treeReport{
		Bytes:         int64(t.Bytes),
		Limit:         int64(t.Limit),
		Blocks:        int64(t.Blocks),
		Runs:          int64(t.Runs),
		Upstreams:     len(s.router.Upstreams()),
		Evictions:     uint64(t.Evictions),
		IndexBytes:    t.IndexBytes,
		Links:         t.Links,
		Epochs:        t.Epochs,
		OldestSeconds: t.Oldest.Seconds(),
	})
}

// upstreamReport describes one upstream, as the admin API shows it.
type upstreamReport struct {
	Address   string  `json:"address"`
	Requests  int     `json:"requests"`  // signed ones in flight
	WaitMS    float64 `json:"wait_ms"`   // predicted, until the prefill queued there is done
	Footprint int64   `json:"footprint"` // uncached tokens sent there lately
	SeenAgo   float64 `json:"seen_seconds_ago"`

	Capacity       int64  `json:"capacity,omitempty"`        // of its KV cache, in tokens; none: not known
	CapacitySource string `json:"capacity_source,omitempty"` // config, metrics or learned

	Engine   *upstreams.Report      `json:"engine,omitempty"`   // none: its metrics are not read
	Failures *failureReport         `json:"failures,omitempty"` // none: no attempt was made there
	Events   []following.Report     `json:"events,omitempty"`   // of each rank; none: not followed
	Tokens   *following.TokenReport `json:"tokens,omitempty"`   // none: it was never asked for tokens
	Staging  *staging.Report        `json:"staging,omitempty"`  // none: nothing was staged there
}

// report describes the upstreams, all or the one at an address, by address.
func (s *shared) report(address string) []upstreamReport {
	reports := []upstreamReport{}
	for _, u := range s.router.Upstreams() {
		if address != "" && u.Address != address {
			continue
		}
		reports = append(reports, upstreamReport{
			Address:        u.Address,
			Requests:       u.Requests,
			WaitMS:         u.Wait.Seconds() * 1000,
			Footprint:      u.Footprint,
			SeenAgo:        u.Idle.Seconds(),
			Capacity:       u.Capacity,
			CapacitySource: s.upstreams.CapacitySource(u.Address, u.Capacity),
			Engine:         s.upstreams.Report(u.Address),
			Failures:       s.failures(u.Address),
			Events:         s.events.Reports(u.Address),
			Tokens:         s.tokens.Report(u.Address),
			Staging:        s.stagings.Report(u.Address),
		})
	}
	slices.SortFunc(reports, func(a, b upstreamReport) int { return strings.Compare(a.Address, b.Address) })
	return reports
}

func serveUpstreams(s *shared, w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodGet:
		return writeJSON(w, s.report(""))
	case http.MethodDelete:
		s.forgetAll()
		return nil
	}
	return apiError(http.StatusMethodNotAllowed, "this path takes GET and DELETE")
}

func serveUpstream(s *shared, w http.ResponseWriter, r *http.Request) error {
	address := strings.TrimPrefix(r.URL.Path, upstreamsPath+"/")
	unknown := apiError(http.StatusNotFound, "no such upstream")
	switch {
	case address == "":
		return unknown
	case r.Method == http.MethodGet:
		reports := s.report(address)
		if len(reports) == 0 {
			return unknown
		}
		return writeJSON(w, reports[0])
	case r.Method == http.MethodDelete:
		if !s.forget(address) {
			return unknown
		}
		return nil
	}
	return apiError(http.StatusMethodNotAllowed, "this path takes GET and DELETE")
}

func apiError(status int, text string) error {
	return caddy.APIError{HTTPStatus: status, Err: errors.New(text)}
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// Interface guards
var _ caddy.AdminRouter = (*Admin)(nil)
