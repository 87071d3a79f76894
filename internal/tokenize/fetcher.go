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

// Errors of asking for tokens. Their texts are fixed.
var (
	// ErrUnsupported: the request has no single prompt of text, or is of an API
	// that cannot be asked about.
	ErrUnsupported = errors.New("tokens: this request cannot be asked about")
	// ErrUnavailable: the engine has no way to ask about this prompt.
	ErrUnavailable = errors.New("tokens: the engine does not tell them")
	// ErrDeclined: the engine finds fault with this request.
	ErrDeclined = errors.New("tokens: the engine declined")
	// ErrBusy: the engine cannot answer at present.
	ErrBusy = errors.New("tokens: the engine failed")
	// ErrUnreachable: there was no answer, or not in time.
	ErrUnreachable = errors.New("tokens: there was no answer")
	// ErrAnswer: what was answered is not understood.
	ErrAnswer = errors.New("tokens: the answer is not understood")
	// ErrTooLarge: the answer is above the limits.
	ErrTooLarge = errors.New("tokens: the answer is too large")
)

// Limits bound what one answer may cost. Zero values mean the defaults.
type Limits struct {
	// Tokens is how many there may be. Default: 1 Mi.
	Tokens int
	// TextBytes is how many bytes their texts may have together. Default: 16 MiB.
	TextBytes int
	// AnswerBytes is how long an answer may be. Default: 64 MiB.
	AnswerBytes int64
	// Time is how long it may take, MediaTime when the prompt has images or the
	// like, which have to be fetched and looked at. Default: 5 s and 30 s.
	Timeout, MediaTimeout time.Duration
	// Upstreams is how many engines are remembered. Default: 4096.
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

// forBody bounds an answer by the request too: without images or the like no
// token stands for less than a byte, but for those of the template, and a byte
// is spelt in four at the most.
func (l Limits) forBody(q *tokenRequest) Limits {
	l.TextBytes = min(l.TextBytes, 64<<10+4*len(q.body))
	if !q.media {
		l.Tokens = min(l.Tokens, 16<<10+len(q.body))
	}
	return l
}

func orElse[T int | int64 | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// reprobe is how long an engine is not asked again in a way that it did not
// have: it may be another engine by then.
const missingTTL = 10 * time.Minute

// Fetcher asks engines for the tokens of prompts. Its methods may be called
// concurrently; its fields must not be changed after the first call.
type Fetcher struct {
	// Transport is what requests are sent with; see NewTransport.
	Transport http.RoundTripper
	// Limits bound one answer.
	Limits Limits
	// Now tells the time. Default: time.Now.
	Now func() time.Time

	mu      sync.Mutex
	missing map[string]*[numEndpoints]time.Time // until when an upstream is taken not to have a way
}

// NewTransport returns what engines are asked with: few connections to each,
// no proxy. Answers are not decompressed.
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

// Fetch asks the engine at upstream (host:port) for the tokens of a request
// with that body. body must not be changed any more: it may be read for a
// while after Fetch has returned.
func (f *Fetcher) Fetch(ctx context.Context, upstream string, api prompt.API, body []byte) (*Tokens, error) {
	q, err := parseRequest(api, body)
	if err != nil {
		return nil, err
	}
	order := []endpoint{endpointRender}
	if q.exact {
		order = []endpoint{endpointTokenize, endpointRender}
	}
	result := ErrUnavailable
	for _, w := range order {
		if !f.supports(upstream, w) {
			continue
		}
		t, err := f.fetch(ctx, upstream, q, w)
		switch {
		case errors.Is(err, ErrUnavailable):
			f.markMissing(upstream, w)
		case errors.Is(err, ErrDeclined):
			result = err // the other way may take it
		default:
			return t, err
		}
	}
	return nil, result
}

// fetch asks in one way.
func (f *Fetcher) fetch(ctx context.Context, upstream string, q *tokenRequest, w endpoint) (*Tokens, error) {
	limits := f.Limits.orDefaults()
	limit := limits.Timeout
	if q.media {
		limit = limits.MediaTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := f.Transport.RoundTrip(newRequest(ctx, upstream, q, w))
	if err != nil {
		return nil, ErrUnreachable // the error may quote what was answered
	}
	defer answer.Body.Close()
	if err := statusError(answer); err != nil {
		return nil, err
	}
	t, err := readAnswer(answer.Body, w, q.completion, limits.forBody(q))
	switch {
	case err == nil, errors.Is(err, ErrAnswer), errors.Is(err, ErrTooLarge):
		return t, err
	}
	return nil, ErrUnreachable
}

func newRequest(ctx context.Context, upstream string, q *tokenRequest, w endpoint) *http.Request {
	body, size := q.open(w)
	r := &http.Request{
		Method:     http.MethodPost,
		URL:        &url.URL{Scheme: "http", Host: upstream, Path: q.path(w)},
		Host:       upstream,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header: http.Header{
			"Accept":       {"application/json"},
			"Content-Type": {"application/json"},
			"User-Agent":   {"caddy-kvaware"},
			// Not sent: says that asking twice does no harm, when a connection
			// turns out to be closed.
			"X-Idempotency-Key": {},
		},
		Body:          body,
		ContentLength: size,
		GetBody: func() (io.ReadCloser, error) {
			again, _ := q.open(w)
			return again, nil
		},
	}
	return r.WithContext(ctx)
}

// judge tells from the status what an answer is worth.
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

// unknownModel tells vLLM's answer to a model that it does not have from that
// to a path that it does not have: by the name of the error.
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

// has tells whether an upstream may have a way to ask.
func (f *Fetcher) supports(upstream string, w endpoint) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.missing[upstream]
	return m == nil || !f.now().Before(m[w])
}

// note remembers that an upstream does not have a way to ask.
func (f *Fetcher) markMissing(upstream string, w endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missing == nil {
		f.missing = make(map[string]*[numEndpoints]time.Time)
	}
	m := f.missing[upstream]
	if m == nil {
		if len(f.missing) >= f.Limits.orDefaults().Upstreams {
			clear(f.missing) // costs each a request
		}
		m = new([numEndpoints]time.Time)
		f.missing[upstream] = m
	}
	m[w] = f.now().Add(missingTTL)
}

// Forget forgets what is known of an upstream: another engine runs there now,
// or none.
func (f *Fetcher) Forget(upstream string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.missing, upstream)
}
