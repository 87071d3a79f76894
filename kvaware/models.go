// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/modelunion"
)

// The values of models.
const (
	modelsOff   = "off"
	modelsUnion = "union"
)

func checkModels(value string) error {
	if value != modelsOff && value != modelsUnion {
		return errors.New("models takes union or off")
	}
	return nil
}

// modelsPath ends the path of a list of models, and begins that of one model.
const modelsPath = "/models"

// listsModels reports whether a request asks for the list of models.
func listsModels(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(strings.TrimRight(r.URL.Path, "/"), modelsPath) &&
		(r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0)
}

// modelOfPath returns the model that a request asks about, "" for none. Names of
// models can have slashes.
func modelOfPath(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return ""
	}
	_, model, found := strings.Cut(r.URL.Path, "/v1"+modelsPath+"/")
	if !found {
		_, model, _ = strings.Cut(r.URL.Path, modelsPath+"/")
	}
	return model
}

// poolVar is the request variable that holds the upstreams of the proxy, for a
// request whose answer is the union of their lists.
const poolVar = "kv_aware.pool"

// forModelsPath returns the upstreams for a request about models. One model is
// asked for at the upstreams that list it, as far as that is known and they can
// take the request. For a list the upstreams are remembered.
func (p *Policy) forModelsPath(pool reverseproxy.UpstreamPool, tried []string, r *http.Request) reverseproxy.UpstreamPool {
	if !strings.Contains(r.URL.Path, modelsPath) {
		return pool
	}
	if listsModels(r) {
		if p.Models == modelsUnion {
			caddyhttp.SetVar(r.Context(), poolVar, pool)
		}
		return pool
	}
	model, models := modelOfPath(r), p.shared.upstreams.Models()
	if model == "" || !models.Differ() {
		return pool
	}
	var listing reverseproxy.UpstreamPool
	for _, u := range pool {
		at := address(u, r)
		if has, _ := models.Has(at, model); has && p.available(u) && !slices.Contains(tried, at) {
			listing = append(listing, u)
		}
	}
	if len(listing) > 0 {
		return listing
	}
	return pool
}

// uniteModels returns the hook of the proxy's transport that answers requests for the
// list of models.
func (p *Policy) uniteModels(union *modelunion.Union) func(*http.Request) *http.Response {
	return func(req *http.Request) *http.Response {
		pool, ok := caddyhttp.GetVar(req.Context(), poolVar).(reverseproxy.UpstreamPool)
		if !ok {
			return nil
		}
		return union.Answer(req, p.dialInfos(pool, req))
	}
}

// dialInfos returns where to reach the upstreams that take requests, each once and
// in their order.
func (p *Policy) dialInfos(pool reverseproxy.UpstreamPool, r *http.Request) (infos []reverseproxy.DialInfo) {
	c := p.candidates(pool, nil, r)
	defer c.release()
	for i, u := range c.upstreams {
		a, err := caddy.ParseNetworkAddress(c.scored[i].Address)
		if err != nil || a.PortRangeSize() != 1 {
			continue
		}
		info := reverseproxy.DialInfo{
			Upstream: u, Network: a.Network, Address: a.JoinHostPort(0),
			Host: a.Host, Port: strconv.FormatUint(uint64(a.StartPort), 10),
		}
		if !slices.ContainsFunc(infos, func(other reverseproxy.DialInfo) bool { return other.String() == info.String() }) {
			infos = append(infos, info)
		}
	}
	return infos
}
