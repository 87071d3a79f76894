// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/transport"
)

// unscrubbed is the reason for requests that no janitor has seen.
const unscrubbed routing.Reason = "unscrubbed"

// unscrubbedText names the missing handler and its place.
const unscrubbedText = "kv_aware refused this request: no pii_janitor has seen its body. " +
	"Put pii_janitor into the site, ahead of reverse_proxy and outside of its handle and route blocks " +
	"(in JSON: as a handler before reverse_proxy), or set 'unscrubbed fallback' on the policy."

// unscrubbedBody is the error in a shape that OpenAI and Anthropic clients both
// read.
const unscrubbedBody = `{"type":"error","error":{"type":"api_error","code":"unscrubbed","message":"` + unscrubbedText + `"}}` + "\n"

// selectUnscrubbed handles a request that no janitor has seen. One without a
// body has no prompt to protect: the fallback takes it.
func (p *Policy) selectUnscrubbed(pool reverseproxy.UpstreamPool, tries *transport.Tries, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	why := routing.Fallback
	if p.Unscrubbed == unscrubbedRefuse {
		if hasBody(r) {
			p.refuse(r, w)
			return nil
		}
	} else if r.ContentLength != 0 {
		why = unscrubbed
	}
	setPlaceholders(r, routing.Decision{Reason: why}, 0)
	u := p.selectUnsigned(pool, tries, r, w)
	if u != nil && why == unscrubbed {
		p.shared.metrics.picked(address(u, r), why)
	}
	return u
}

// refuse answers the request. Returning no upstream alone would end in an empty
// 503 that gives no reason; Caddy's own 503 that follows finds the answer
// written already.
func (p *Policy) refuse(r *http.Request, w http.ResponseWriter) {
	setPlaceholders(r, routing.Decision{Reason: unscrubbed}, 0)
	if caddyhttp.GetVar(r.Context(), refusedVar) != nil {
		return // Caddy retries when no upstream was picked
	}
	caddyhttp.SetVar(r.Context(), refusedVar, true)
	if c := p.logger.Check(zap.ErrorLevel, "request refused"); c != nil {
		c.Write(zap.String("why", unscrubbedText))
	}
	p.shared.metrics.picked("", unscrubbed)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(unscrubbedBody)))
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, unscrubbedBody) // the client may be gone: nothing to do about it
}

const refusedVar = "kv_aware.refused"

// hasBody reports whether the request carries a body. Without an announced
// length it reads one byte, which is not missed: a request with a body will be
// refused.
func hasBody(r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return false
	}
	if r.ContentLength > 0 {
		return true
	}
	var one [1]byte
	n, err := io.ReadFull(r.Body, one[:])
	if n == 0 && errors.Is(err, io.EOF) {
		r.Body = http.NoBody
		r.ContentLength = 0
		return false
	}
	return true
}
