// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() { caddy.RegisterModule(arrivals{}) }

// arrivals is a handler that notes which requests have reached the gateway. A
// server that shuts down for a reload closes connections whose request it has
// not begun to serve. A client sends such a request again: the gateway never had
// it.
type arrivals struct{}

// arrivalHeader holds the number of a request.
const arrivalHeader = "X-Arrival"

// arrived holds the numbers of the requests that have reached the gateway.
var arrived sync.Map

// CaddyModule returns the Caddy module information.
func (arrivals) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_arrivals", New: func() caddy.Module { return new(arrivals) }}
}

// ServeHTTP notes the request and passes it on.
func (arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	arrived.Store(r.Header.Get(arrivalHeader), nil)
	r.Header.Del(arrivalHeader)
	return next.ServeHTTP(w, r)
}

// hasArrived reports whether a request has reached the gateway, and forgets it.
func hasArrived(number string) bool {
	_, ok := arrived.LoadAndDelete(number)
	return ok
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = arrivals{}
