// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Elsewhere returns a copy of a request without a body, as the proxy sends it to an
// upstream, that goes to another upstream with the same transport: through TLS and
// a forward proxy as well. ctx comes from the request's context. The copies of one
// request can be sent at the same time.
//
// Header operations of the config have named the first upstream. Of these only the
// Host header is changed.
func Elsewhere(ctx context.Context, req *http.Request, to reverseproxy.DialInfo) *http.Request {
	from, _ := reverseproxy.GetDialInfo(req.Context())
	if vars, ok := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, maps.Clone(vars)) // the transport sets some
	}
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, namingUpstream(repl, to))
	}
	r := req.Clone(dialContext{ctx, to})
	r.URL.Host = to.Address
	if r.Host == from.Address || r.Host == req.URL.Host {
		r.Host = to.Address
	}
	return r
}

// namingUpstream returns a replacer whose placeholders name another upstream, such
// as in a TLS server name.
func namingUpstream(repl *caddy.Replacer, to reverseproxy.DialInfo) *caddy.Replacer {
	own := caddy.NewEmptyReplacer()
	own.Set("http.reverse_proxy.upstream.address", to.String())
	own.Set("http.reverse_proxy.upstream.hostport", to.Address)
	own.Set("http.reverse_proxy.upstream.host", to.Host)
	own.Set("http.reverse_proxy.upstream.port", to.Port)
	own.Map(repl.Get)
	return own
}

// dialContext is a context with another upstream to dial. Caddy does not export the
// key of it, but the type.
type dialContext struct {
	context.Context
	to reverseproxy.DialInfo
}

// Value implements context.Context.
func (c dialContext) Value(key any) any {
	value := c.Context.Value(key)
	if _, ok := value.(reverseproxy.DialInfo); ok {
		return c.to
	}
	return value
}
