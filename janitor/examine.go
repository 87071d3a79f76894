// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// Janitor returns the handler that let the request through.
func (x *Exchange) Janitor() *Handler { return x.janitor }

// Findings returns the number of values that the janitor has found in the
// request.
func (x *Exchange) Findings() int { return x.findings }

// Examine treats a request like ServeHTTP, but forwards nothing. It calls show
// with the Exchange, which ends when show returns. For a request that ServeHTTP
// would refuse it returns a [caddyhttp.HandlerError] with the same status and
// text.
func (h *Handler) Examine(w http.ResponseWriter, r *http.Request, show func(*Exchange)) error {
	x := &Exchange{janitor: h, api: prompt.ByPath(r.URL.Path), restorable: h.restorable}
	defer x.end(ErrAborted)
	if refused := h.admit(w, r, x); refused != nil {
		x.arrival.abandon(time.Now().Add(serverLinger))
		return caddyhttp.Error(refused.status, errors.New(refused.message))
	}
	show(x)
	return nil
}
