// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/outlier"
)

// errOverdue ends a probe whose answer is overdue. It is not context.Canceled,
// which Caddy takes for a client that left.
var errOverdue = errors.New("the upstream did not answer in time")

// maxReplays bounds how often one attempt is sent again because a connection that
// was kept alive turned out to be closed. Each replay takes another connection.
const maxReplays = 8

// sending is one attempt on its way.
type sending struct {
	base     http.RoundTripper
	tries    *Tries
	bodySent bool   // the whole request was written to a connection that then failed
	inTime   func() // the header has come
	stop     func() // the answer is over
}

// send sends the request. When a connection that was kept alive is closed before
// any byte of an answer, it is sent again: engines close idle connections (uvicorn
// after 5 s, Caddy keeps them for 2 minutes), and that is no failure of theirs.
// net/http does the same only for some requests, and not after a partial write.
func (s *sending) send(req *http.Request) (*http.Response, error) {
	ctx, overdue := s.watch(req)
	var first error
	for replays := 0; ; replays++ {
		c := connection{since: time.Now()}
		res, err := s.base.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, c.trace())))
		if err == nil {
			s.bodySent = false
			s.inTime()
			return res, nil
		}
		first = cmp.Or(first, err)
		s.bodySent = s.bodySent || c.wrote.Load()
		if overdue() {
			err = errOverdue
		}
		if !c.isStale(s.tries.Repeatable) || replays == maxReplays || ctx.Err() != nil || !rewind(req) {
			s.stop()
			if s.bodySent && errorKind(err) == outlier.Dial {
				err = first // it took the request and is gone now: that is no failed dial
			}
			return nil, err
		}
	}
}

// watch bounds the time until the header of a probe's answer: an upstream that was
// left out because it hangs shall not hold a client until that gives up.
func (s *sending) watch(req *http.Request) (ctx context.Context, overdue func() bool) {
	s.inTime, s.stop = func() {}, func() {}
	a := s.tries.Attempt
	if !a.Probe() || a.Due() == 0 || s.tries.Untried == 0 || !s.tries.replayable {
		return req.Context(), func() bool { return false }
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(a.Due(), func() { cancel(errOverdue) })
	s.inTime = func() { timer.Stop() }
	s.stop = func() {
		timer.Stop()
		cancel(nil)
	}
	return ctx, func() bool {
		return errors.Is(context.Cause(ctx), errOverdue)
	}
}

// connection records what happens on the connection of one round trip. net/http
// calls the trace from other goroutines.
type connection struct {
	since                   time.Time
	reused, wrote, answered atomic.Bool
}

func (c *connection) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:              func(i httptrace.GotConnInfo) { c.reused.Store(i.Reused) },
		WroteRequest:         func(i httptrace.WroteRequestInfo) { c.wrote.Store(i.Err == nil) },
		GotFirstResponseByte: func() { c.answered.Store(true) },
	}
}

// isStale reports whether a failed round trip may be the fault of a connection
// that was kept alive, and the request can be sent again. A stale connection shows
// at once.
func (c *connection) isStale(repeatable bool) bool {
	return c.reused.Load() && !c.answered.Load() && (repeatable || !c.wrote.Load()) && time.Since(c.since) < staleTime
}

// staleTime is the time within which a stale connection shows. An engine that ends
// a connection later has worked on the request.
const staleTime = time.Second

// isReplayable reports whether the request's body can be sent again.
func isReplayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil || req.ContentLength == 0
}

// rewind gives the request its body anew.
func rewind(req *http.Request) bool {
	if req.GetBody == nil {
		return isReplayable(req)
	}
	b, err := req.GetBody()
	if err != nil {
		return false
	}
	req.Body = b
	return true
}
