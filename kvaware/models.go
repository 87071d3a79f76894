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

// listsModels reports whether a request asks for the list of models.
func listsModels(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(strings.TrimRight(r.URL.Path, "/"), modelsPath) &&
		(r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0)
}

// poolVar is the request variable that holds the upstreams of the proxy, for a
// request whose answer is the union of their lists.
const poolVar = "kv_aware.pool"

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
