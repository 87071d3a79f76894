// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// noAnswer is the failure of the handlers behind this one, with Caddy's status.
func noAnswer(status int) *refusal {
	return &refusal{status: status, reason: "no_answer", message: fmt.Sprintf("no engine could answer (status %d)", status)}
}

// answerFailure answers with the API's error when the handlers behind this one have
// failed without an answer, as reverse_proxy does when it reaches no upstream. Caddy
// sends the status alone, of which SDKs can only say that it has no body. Where the
// config has error routes, they answer.
func (h *Handler) answerFailure(w http.ResponseWriter, r *http.Request, rw *responseWriter, err error) {
	if status := statusOf(err); status >= 500 && rw.untouched() && lacksErrorRoutes(r) {
		noAnswer(status).write(w, r, prompt.ErrorShapeOf(r.URL.Path))
	}
}

// untouched reports whether no answer has begun, and the client is there.
func (w *responseWriter) untouched() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.committed && !w.client.left()
}

// lacksErrorRoutes reports whether Caddy's server would send nothing but the status.
func lacksErrorRoutes(r *http.Request) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server != nil && (server.Errors == nil || len(server.Errors.Routes) == 0)
}
