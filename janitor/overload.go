// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"net/http"
	"time"
)

// ErrRefused is the error of [Observer.End] when the gateway itself has refused the
// request.
var ErrRefused = errors.New("the request was refused")

// refuseOverload is sent with a Retry-After of its own.
var refuseOverload = refusal{status: http.StatusTooManyRequests, reason: "overload",
	message: "every engine is busy for longer than requests may wait at this gateway; try again later"}

// RefuseOverload answers the request in place of an engine, with status 429 and
// an error in the shape of its API. Retry-After asks the client to wait for that
// long, rounded up to whole seconds, at least one. An observer ends with
// ErrRefused and does not see the answer, which is no engine's. The janitor
// takes no error of the handlers behind it any more. RefuseOverload does nothing
// once the answer has begun.
func (x *Exchange) RefuseOverload(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	if x.refused || x.released {
		return
	}
	x.refused = true
	x.endObserver(ErrRefused)
	f := refuseOverload
	f.retryAfter = int(max(1, (wait+time.Second-1)/time.Second))
	f.write(w, r, x.api.Dialect().Errors)
}
