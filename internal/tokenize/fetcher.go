// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// Errors of Fetch. Their texts are fixed.
var (
	// ErrUnsupported: the request has no single prompt of text, or its API is not
	// supported.
	ErrUnsupported = errors.New("tokens: not supported for this request")
	// ErrUnavailable: the engine has no endpoint for this prompt.
	ErrUnavailable = errors.New("tokens: the engine has no endpoint for them")
	// ErrDeclined: the engine rejects this request.
	ErrDeclined = errors.New("tokens: the engine declined")
	// ErrBusy: the engine cannot answer at present.
	ErrBusy = errors.New("tokens: the engine failed")
	// ErrUnreachable: there was no answer, or not in time.
	ErrUnreachable = errors.New("tokens: no answer")
	// ErrAnswer: the answer is not understood.
	ErrAnswer = errors.New("tokens: the answer is not understood")
	// ErrTooLarge: the answer is above the limits.
	ErrTooLarge = errors.New("tokens: the answer is too large")
)

// Limits bound the cost of one answer. Zero values mean the defaults.
type Limits struct {
	// Tokens is the maximum number of tokens. Default: 1 Mi.
	Tokens int
	// TextBytes is the maximum length of all their texts. Default: 16 MiB.
	TextBytes int
	// AnswerBytes is the maximum length of an answer. Default: 64 MiB.
	AnswerBytes int64
	// Timeout is the time for an answer, MediaTimeout the time when the prompt has
	// media, which have to be fetched and decoded. Default: 5 s and 30 s.
	Timeout, MediaTimeout time.Duration
	// Upstreams is the maximum number of engines remembered. Default: 4096.
	Upstreams int
}

func (l Limits) orDefaults() Limits {
	orElse(&l.Tokens, 1<<20)
	orElse(&l.TextBytes, 16<<20)
	orElse(&l.AnswerBytes, 64<<20)
	orElse(&l.Timeout, 5*time.Second)
	orElse(&l.MediaTimeout, 30*time.Second)
	orElse(&l.Upstreams, 4096)
	return l
}

// forBody bounds an answer by the request too. Without media every token stands for
// at least a byte, except the template's, and a byte is spelt in four at most.
func (l Limits) forBody(tr *tokenRequest) Limits {
	l.TextBytes = min(l.TextBytes, 64<<10+4*len(tr.body))
	if !tr.media {
		l.Tokens = min(l.Tokens, 16<<10+len(tr.body))
	}
	return l
}

func orElse[T int | int64 | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// missingTTL is the time after which an endpoint that was missing is tried again: it
// may be another engine by then.
const missingTTL = 10 * time.Minute

// Fetcher asks engines for the tokens of prompts. It is safe for concurrent use; its
// fields must not be changed after the first call.
type Fetcher struct {
	// Transport sends the requests; see NewTransport.
	Transport http.RoundTripper
	// Limits bound one answer.
	Limits Limits
	// Now returns the time. Default: time.Now.
	Now func() time.Time

	mu      sync.Mutex
	missing map[string]*[numEndpoints]time.Time // by upstream and endpoint: until when it counts as missing
}

// NewTransport returns a transport for engines: few connections to each, no proxy,
// and answers are not decompressed.
func NewTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    2,
		MaxConnsPerHost:        4,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
	}
}

// Fetch asks the engine at upstream (host:port) for the tokens of a request with
// this body. body must not be changed any more: it may be read for a while after
// Fetch has returned.
func (f *Fetcher) Fetch(ctx context.Context, upstream string, api prompt.API, body []byte) (*Tokens, error) {
	tr, err := parseRequest(api, body)
	if err != nil {
		return nil, err
	}
	order := []endpoint{endpointRender}
	if tr.exact {
		order = []endpoint{endpointTokenize, endpointRender}
	}
	result := ErrUnavailable
	for _, w := range order {
		if !f.supports(upstream, w) {
			continue
		}
		t, err := f.fetch(ctx, upstream, tr, w)
		switch {
		case errors.Is(err, ErrUnavailable):
			f.markMissing(upstream, w)
		case errors.Is(err, ErrDeclined):
			result = err // the other endpoint may take it
		default:
			return t, err
		}
	}
	return nil, result
}

// fetch asks one endpoint.
func (f *Fetcher) fetch(ctx context.Context, upstream string, tr *tokenRequest, w endpoint) (*Tokens, error) {
	limits := f.Limits.orDefaults()
	limit := limits.Timeout
	if tr.media {
		limit = limits.MediaTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := f.Transport.RoundTrip(newRequest(ctx, upstream, tr, w))
	if err != nil {
		return nil, ErrUnreachable // the error may quote the answer
	}
	defer answer.Body.Close()
	if err := statusError(answer); err != nil {
		return nil, err
	}
	t, err := readAnswer(answer.Body, w, tr.completion, limits.forBody(tr))
	switch {
	case err == nil, errors.Is(err, ErrAnswer), errors.Is(err, ErrTooLarge):
		return t, err
	}
	return nil, ErrUnreachable
}

func newRequest(ctx context.Context, upstream string, tr *tokenRequest, w endpoint) *http.Request {
	body, size := tr.open(w)
	r := &http.Request{
		Method:     http.MethodPost,
		URL:        &url.URL{Scheme: "http", Host: upstream, Path: tr.path(w)},
		Host:       upstream,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header: http.Header{
			"Accept":       {"application/json"},
			"Content-Type": {"application/json"},
			"User-Agent":   {"caddy-kvaware"},
			// Not sent: marks the request as safe to repeat, when a connection turns
			// out to be closed.
			"X-Idempotency-Key": {},
		},
		Body:          body,
		ContentLength: size,
		GetBody: func() (io.ReadCloser, error) {
			again, _ := tr.open(w)
			return again, nil
		},
	}
	return r.WithContext(ctx)
}

// statusError returns the error that an answer's status stands for.
func statusError(answer *http.Response) error {
	switch s := answer.StatusCode; {
	case s == http.StatusOK:
		if answer.Header.Get("Content-Encoding") != "" {
			return ErrAnswer
		}
		return nil
	case s == http.StatusNotFound && unknownModel(answer.Body):
		return ErrDeclined
	case s == http.StatusNotFound, s == http.StatusMethodNotAllowed, s == http.StatusNotImplemented,
		s == http.StatusUnauthorized, s == http.StatusForbidden:
		return ErrUnavailable
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500:
		return ErrBusy
	case s >= 400:
		return ErrDeclined
	}
	return ErrAnswer // a redirect: an engine has no business sending us elsewhere
}

// unknownModel tells vLLM's answer for an unknown model from that for an unknown
// path, by the name of the error.
func unknownModel(body io.Reader) bool {
	b, _ := io.ReadAll(io.LimitReader(body, 4<<10))
	return bytes.Contains(b, []byte("NotFoundError"))
}

func (f *Fetcher) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

// supports reports whether an upstream may have an endpoint.
func (f *Fetcher) supports(upstream string, w endpoint) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.missing[upstream]
	return m == nil || !f.now().Before(m[w])
}

// markMissing notes that an upstream does not have an endpoint.
func (f *Fetcher) markMissing(upstream string, w endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missing == nil {
		f.missing = make(map[string]*[numEndpoints]time.Time)
	}
	m := f.missing[upstream]
	if m == nil {
		if len(f.missing) >= f.Limits.orDefaults().Upstreams {
			clear(f.missing) // costs a request for each
		}
		m = new([numEndpoints]time.Time)
		f.missing[upstream] = m
	}
	m[w] = f.now().Add(missingTTL)
}

// Forget drops what is known of an upstream: another engine runs there now, or none.
func (f *Fetcher) Forget(upstream string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.missing, upstream)
}
