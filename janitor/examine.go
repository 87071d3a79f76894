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

// Findings is how many values the janitor has found in the request.
func (x *Exchange) Findings() int { return x.findings }

// Examine looks at a request as ServeHTTP does, but nothing goes on: it is for
// showing what would become of it. show gets the Exchange, which is over when
// show returns. A request that ServeHTTP would refuse gives a
// [caddyhttp.HandlerError] with the status and the same fixed text.
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
