// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// noUpstream makes Caddy give up at once: it has two ports, and Caddy does not try
// again when an address is none. A nil upstream would make it try again for as
// long as lb_try_duration says, with the answer written and the client waiting.
var noUpstream = &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "none:1-2"}

// newShedder returns the policy's Shedder, or nil without max_wait.
func (p *Policy) newShedder() *routing.Shedder {
	if p.MaxWait == 0 {
		if p.Priority != "" {
			p.logger.Warn("priority has no effect without max_wait: no request is refused")
		}
		return nil
	}
	return routing.NewShedder(time.Duration(p.MaxWait))
}

// anonymousTenants is the tenant of all requests without a tenant, where the
// option is set: each would have a share of its own otherwise. Other ids are hexadecimal.
const anonymousTenants = "anonymous"

// limitWait makes the router refuse the request when it would wait too long.
func (p *Policy) limitWait(s *signedRequest, x *janitor.Exchange, t tenant, r *http.Request) {
	if p.shedder == nil {
		return
	}
	id := t.id
	if t.anonymous {
		id = anonymousTenants
	}
	s.request.LimitWait(p.shedder, p.priority(x, r), id)
}

// priority returns the priority of a request, as configured, else as its body has
// it.
func (p *Policy) priority(x *janitor.Exchange, r *http.Request) int32 {
	if p.Priority == "" {
		return x.Priority()
	}
	return parsePriority(replacer(r).ReplaceAll(p.Priority, ""))
}

// parsePriority reads an integer, 0 for anything else. One out of range counts as
// the nearest in range.
func parsePriority(value string) int32 {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return int32(min(math.MaxInt32, max(math.MinInt32, n)))
}

// refuseOverload answers a request that would wait too long. Clients may send many
// of them, so none makes a line in a log that is not for debugging.
func (p *Policy) refuseOverload(x *janitor.Exchange, d routing.Decision, r *http.Request, w http.ResponseWriter) {
	setPlaceholders(r, d, 0)
	p.shared.metrics.picked("", routing.Overload)
	if c := p.logger.Check(zap.DebugLevel, "request refused: it would wait longer than max_wait"); c != nil {
		c.Write(zap.Duration("retry_after", d.RetryAfter))
	}
	x.RefuseOverload(w, r, d.RetryAfter)
}

var (
	errMaxWait  = errors.New("max_wait takes a duration above 0 such as 10s")
	errPriority = errors.New("priority takes a placeholder such as {http.request.header.X-Priority}")
)

// checkMaxWait takes 0 for a wait without a limit.
func checkMaxWait(d caddy.Duration) error {
	if d < 0 {
		return errMaxWait
	}
	return nil
}
