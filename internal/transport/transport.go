// SPDX-License-Identifier: Apache-2.0

// Package transport holds the http.RoundTripper that a kv_aware policy puts around
// its proxy's transport. A selection policy sees only that it is called again; the
// transport sees how each attempt ends: refused, reset, with which status, overdue,
// or cut. It tells the outlier detector, and decides whether the request may be
// tried at another upstream.
package transport

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/outlier"
)

// RetryPlaceholder is true when an attempt has failed and the request should be
// tried at another upstream. Retry matchers read it.
const RetryPlaceholder = "http.kv_aware.retry"

// maxResets is the number of attempts of one request that may be reset behind its
// body. The request may itself be what ends the engines.
const maxResets = 2

// Transport sends requests through a proxy's own transport and watches them.
type Transport struct {
	Base   http.RoundTripper
	Budget *outlier.Budget
	Logger *zap.Logger

	Now func() time.Time

	// Tries returns the attempts of a request, nil for one that no policy has
	// routed, such as a health check.
	Tries func(*http.Request) *Tries

	// Intercept may answer a routed request itself. It returns nil to have it sent.
	Intercept func(*http.Request) *http.Response
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	tries := t.Tries(req)
	if tries == nil || tries.Attempt == nil {
		return t.Base.RoundTrip(req)
	}
	if t.Intercept != nil {
		if res := t.Intercept(req); res != nil {
			return res, nil
		}
	}
	tries.begin(req)
	if tries.number == 1 {
		t.Budget.Request()
	}
	s := sending{base: t.Base, tries: tries}
	res, err := s.send(req)
	if err != nil {
		t.failed(req, &s, err)
		return nil, err
	}
	t.answered(req, &s, res)
	return res, nil
}

// failed notes an attempt that brought no answer.
func (t *Transport) failed(req *http.Request, s *sending, err error) {
	tries := s.tries
	if req.Context().Err() != nil {
		tries.Attempt.Release() // the client left
		return
	}
	k := errorKind(err)
	tries.Attempt.Fail(k, 0)
	if k == outlier.Dial {
		return // Caddy tries again without asking
	}
	if s.bodySent && k == outlier.Reset {
		tries.resets++
	}
	if !t.retry(req, tries, tries.Repeatable) && tries.resets == maxResets {
		t.Logger.Warn("two upstreams reset the connection behind the body of one request: it is not tried at a third",
			zap.String("upstream", tries.Attempt.Address()))
	}
}

// errorKind classifies an error of the transport.
func errorKind(err error) outlier.Kind {
	var dial reverseproxy.DialError
	var timeout net.Error
	switch {
	case errors.As(err, &dial):
		return outlier.Dial
	case errors.Is(err, errOverdue), errors.As(err, &timeout) && timeout.Timeout():
		return outlier.Timeout
	}
	return outlier.Reset
}

// answered notes the header of an answer, and watches its body when it is one.
func (t *Transport) answered(req *http.Request, s *sending, res *http.Response) {
	tries := s.tries
	attempt := tries.Attempt
	k, failed := outlier.StatusKind(res.StatusCode)
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		attempt.Succeed() // its body is the connection itself
		s.stop()
		return
	case failed:
		attempt.Fail(k, retryAfter(res.Header, t.Now()))
		t.retry(req, tries, tries.Repeatable || k == outlier.Limited)
	case res.StatusCode >= 400:
		t.refused(req, tries, res)
	default:
		tries.contradict()
		res.Body = &body{ReadCloser: res.Body, ctx: req.Context(), tries: tries, stop: s.stop}
		return
	}
	res.Body = &releasing{res.Body, s.stop}
}

// refused notes an answer with an error that may be the client's. When the upstream
// has done nothing but refuse, or lacks the model, another one is asked too.
func (t *Transport) refused(req *http.Request, tries *Tries, res *http.Response) {
	attempt := tries.Attempt
	doubtful := attempt.Refused()
	if tries.doubted != nil {
		tries.doubted.Confirmed()
		tries.doubted = nil
		return
	}
	lacksModel := res.StatusCode == http.StatusNotFound && tries.LacksModel != nil && tries.LacksModel()
	if (doubtful || lacksModel) && t.retry(req, tries, true) && doubtful {
		tries.doubted = attempt
	}
}

// retry reports whether the request should be tried at another upstream, and says
// so in the placeholder. harmless says that this upstream has not acted on it, or
// that it may act twice.
func (t *Transport) retry(req *http.Request, tries *Tries, harmless bool) bool {
	if !harmless || tries.number > tries.Retries || tries.Untried == 0 || tries.resets >= maxResets || !tries.replayable {
		return false
	}
	if !t.Budget.Retry() {
		if c := t.Logger.Check(zap.DebugLevel, "not retried: too many requests fail"); c != nil {
			c.Write(zap.String("upstream", tries.Attempt.Address()))
		}
		return false
	}
	setRetry(req, true)
	tries.retrying = true
	return true
}

func setRetry(req *http.Request, retry bool) {
	if repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set(RetryPlaceholder, retry)
	}
}

// The optional interfaces that Caddy asks a transport for are those of Base.

// DefaultBufferSizes implements reverseproxy.BufferedTransport.
func (t *Transport) DefaultBufferSizes() (int64, int64) {
	if b, ok := t.Base.(reverseproxy.BufferedTransport); ok {
		return b.DefaultBufferSizes()
	}
	return 0, 0
}

// RequestHeaderOps implements reverseproxy.RequestHeaderOpsTransport.
func (t *Transport) RequestHeaderOps() *headers.HeaderOps {
	if b, ok := t.Base.(reverseproxy.RequestHeaderOpsTransport); ok {
		return b.RequestHeaderOps()
	}
	return nil
}

// ProxyProtocolEnabled implements reverseproxy.ProxyProtocolTransport.
func (t *Transport) ProxyProtocolEnabled() bool {
	b, ok := t.Base.(reverseproxy.ProxyProtocolTransport)
	return ok && b.ProxyProtocolEnabled()
}

// OverrideHealthCheckScheme implements
// reverseproxy.HealthCheckSchemeOverriderTransport.
func (t *Transport) OverrideHealthCheckScheme(base *url.URL, port string) {
	if b, ok := t.Base.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		b.OverrideHealthCheckScheme(base, port)
	}
}

// RequiresContentLength implements reverseproxy.ContentLengthRequiredTransport.
func (t *Transport) RequiresContentLength() bool {
	b, ok := t.Base.(reverseproxy.ContentLengthRequiredTransport)
	return ok && b.RequiresContentLength()
}

// Interface guards
var (
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.BufferedTransport                   = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*Transport)(nil)
)
