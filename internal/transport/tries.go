// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"net/http"
	"slices"

	"github.com/bauxite/caddy-kvaware/internal/outlier"
)

// Tries holds the attempts to send one request. The policy makes it at the first
// pick and sets the exported fields at each. Only the request's goroutine uses it.
type Tries struct {
	Attempt *outlier.Attempt // the one that is made next or under way
	Untried int              // other upstreams that could take the request
	Retries int              // attempts that may follow the first

	// Repeatable says that the request does no harm when it is sent twice: it asks
	// for an answer of a model, or its method is idempotent. Others are tried again
	// only if the upstream has not taken them.
	Repeatable bool

	// Observed says that the answer's end is reported by End: only a reader of the
	// answer can tell a whole one from one that ends early.
	Observed bool

	// LacksModel is called when the upstream answers 404. It notes that the
	// upstream does not have the model of the request, or the stored response that
	// it refers to, and reports whether another one may have it. nil: the request
	// names neither.
	LacksModel func() bool

	tried      []string // addresses of attempts that failed
	number     int      // attempts begun
	resets     int      // attempts that were reset behind the body
	replayable bool
	retrying   bool
	doubted    *outlier.Attempt // its refusal waits for another upstream's answer
}

// Tried returns the addresses at which the request has failed.
func (t *Tries) Tried() []string { return t.tried }

// Again notes that the policy is asked for another upstream: the attempt before
// has failed.
func (t *Tries) Again() {
	if t.Attempt == nil {
		return
	}
	if address := t.Attempt.Address(); !slices.Contains(t.tried, address) {
		t.tried = append(t.tried, address)
	}
	t.Attempt.Release() // in case the transport has not ended it
	t.Attempt = nil
}

// End notes how the answer ended: whole, or cut off by the upstream. An answer that
// ended because its client left is neither.
func (t *Tries) End(whole, cut bool) {
	switch {
	case t.Attempt == nil:
	case cut:
		t.Attempt.Fail(outlier.Cut, 0)
	case whole:
		t.Attempt.Succeed()
	default:
		t.Attempt.Release()
	}
}

// begin notes that an attempt is being made.
func (t *Tries) begin(req *http.Request) {
	t.number++
	t.replayable = isReplayable(req)
	if t.retrying {
		setRetry(req, false)
		t.retrying = false
	}
	t.Attempt.Start()
}

// contradict notes that an upstream accepts the request.
func (t *Tries) contradict() {
	if t.doubted != nil {
		t.doubted.Contradicted()
		t.doubted = nil
	}
}
