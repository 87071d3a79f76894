// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// dialKey stands for the key that Caddy does not export.
type dialKey struct{}

func TestElsewhere(t *testing.T) {
	from := reverseproxy.DialInfo{Network: "tcp", Address: "a:1", Host: "a", Port: "1"}
	to := reverseproxy.DialInfo{Network: "tcp", Address: "b:2", Host: "b", Port: "2"}
	repl := caddy.NewEmptyReplacer()
	repl.Set("http.reverse_proxy.upstream.host", "a")
	repl.Set("http.request.host", "gateway")
	vars := map[string]any{"x": 1}
	ctx := context.WithValue(context.Background(), dialKey{}, from)
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, repl)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, vars)
	for host, want := range map[string]string{"gateway": "gateway", "a:1": "b:2"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://a:1/v1/models?x=y", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Authorization", "x")
		r := Elsewhere(ctx, req, to)
		if r.URL.String() != "http://b:2/v1/models?x=y" || r.Host != want || r.Header.Get("Authorization") != "x" {
			t.Errorf("%s: goes to %s with host %s and %v", host, r.URL, r.Host, r.Header)
		}
		if got := r.Context().Value(dialKey{}); got != to {
			t.Errorf("dials %+v", got)
		}
		if got := r.Context().Value(http.LocalAddrContextKey); got != nil {
			t.Errorf("an unknown key has %v", got)
		}
		own := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if got := own.ReplaceAll("{http.reverse_proxy.upstream.host}:{http.reverse_proxy.upstream.port} {http.request.host}", ""); got != "b:2 gateway" {
			t.Errorf("placeholders: %s", got)
		}
		caddyhttp.SetVar(r.Context(), "y", 2)
		if len(vars) != 1 || caddyhttp.GetVar(r.Context(), "x") != 1 {
			t.Errorf("variables are shared: %v", vars)
		}
		r.Header.Del("Authorization")
		if req.URL.Host != "a:1" || req.Host != host || req.Header.Get("Authorization") == "" || req.Context().Value(dialKey{}) != from {
			t.Error("the request itself was changed")
		}
	}
}
