// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// dialTimeout is the time to open a connection.
	dialTimeout = 2 * time.Second
	// maxAnswerHeader bounds an answer's header, in bytes.
	maxAnswerHeader = 64 << 10
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 20
	// idleConnection is less than the 5 s after which uvicorn, LMCache's HTTP server,
	// closes an idle connection: a call on a closed one is lost.
	idleConnection = 4 * time.Second
)

// NewTransport returns a transport for calls to LMCache: few connections, no proxy,
// no decompression.
func NewTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		MaxResponseHeaderBytes: maxAnswerHeader,
		MaxIdleConnsPerHost:    2,
		MaxConnsPerHost:        16,
		IdleConnTimeout:        idleConnection,
		DisableCompression:     true,
	}
}

// request is one call of LMCache's HTTP API.
type request struct {
	method string
	base   *url.URL
	path   string // escaped, with its leading slash
	tokens *tokenBody
	order  bool // a node answers 503 when it has no KV layout of the model
	passed bool // a coordinator passes it on, and answers 502 when the node refuses it
}

// do sends a request and passes the body of a 200 or 202 to read. It follows no
// redirects: LMCache has no reason to send any.
func do(ctx context.Context, t http.RoundTripper, q request, read func(io.Reader) error) error {
	if q.tokens != nil {
		defer q.tokens.loan.end()
	}
	answer, err := t.RoundTrip(q.http().WithContext(ctx))
	if err != nil {
		return failure(ctx, err)
	}
	defer answer.Body.Close()
	if err := q.statusError(answer); err != nil {
		return err
	}
	if err := read(answer.Body); err != nil {
		if ctx.Err() != nil {
			return failure(ctx, err)
		}
		return ErrAnswer // the decoder's error may quote the answer
	}
	return nil
}

// failure returns the fixed error for an error of the transport, whose text may quote
// the request.
func failure(ctx context.Context, err error) error {
	var network net.Error
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout() {
		return ErrTimeout
	}
	return ErrUnreachable
}

// maxDetail bounds the bytes of an error's text that are read.
const maxDetail = 4 << 10

// nodeStatus returns the status that a node has answered to a request, and 0 when the
// answer is the coordinator's own.
func (q *request) nodeStatus(answer *http.Response) int {
	if !q.passed {
		return answer.StatusCode
	}
	var a struct {
		Detail string `json:"detail"`
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxDetail))
	if err != nil || answer.StatusCode != http.StatusBadGateway || json.Unmarshal(raw, &a) != nil {
		return 0
	}
	return quotedStatus(a.Detail)
}

// quotedStatus returns the status that the text of a coordinator's error quotes, or 0:
// it names the node, and ends with the error of its HTTP client, such as "Server error
// '503 Service Unavailable' for url 'http://10.0.0.7:8080/cache/prefetches'".
func quotedStatus(detail string) int {
	_, quoted, found := strings.Cut(detail, "failed: ")
	if !found {
		return 0
	}
	_, quoted, found = strings.Cut(quoted, " error '")
	if !found || len(quoted) < 4 || quoted[3] != ' ' {
		return 0
	}
	status, err := strconv.Atoi(quoted[:3])
	if err != nil || status < 400 || status > 599 {
		return 0
	}
	return status
}

// statusError returns the error that the status of an answer stands for. A node answers
// an order with 503 while it has no layout yet; the first version answered 409. What a
// node refuses is not the coordinator's failure.
func (q *request) statusError(answer *http.Response) error {
	if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusAccepted {
		return nil
	}
	node := q.nodeStatus(answer)
	if q.order && (node == http.StatusServiceUnavailable || node == http.StatusConflict) {
		return ErrNoLayout
	}
	switch status := cmp.Or(node, answer.StatusCode); {
	case status == http.StatusNotFound:
		return ErrNotFound
	case status >= 500:
		return ErrServer
	}
	return ErrRefused
}

// http returns the request for net/http. Staging twice does no harm, so net/http may
// send it again on a connection that the server was just closing. The header without
// a value allows that and is not sent.
func (q *request) http() *http.Request {
	u := *q.base
	u.RawPath = joinPath(u.EscapedPath(), q.path)
	u.Path, _ = url.PathUnescape(u.RawPath) // cannot fail: both were escaped
	u.RawQuery, u.Fragment, u.User = "", "", nil
	r := &http.Request{
		Method:     q.method,
		URL:        &u,
		Host:       u.Host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     http.Header{"Accept": {"application/json"}, "User-Agent": {"caddy-kvaware"}},
	}
	if q.tokens == nil {
		return r
	}
	r.ContentLength = q.tokens.size()
	r.GetBody = func() (io.ReadCloser, error) { return q.tokens.reader(), nil }
	r.Body, _ = r.GetBody()
	r.Header.Set("Content-Type", "application/json")
	r.Header["Idempotency-Key"] = nil
	return r
}

func joinPath(base, path string) string {
	for len(base) > 0 && base[len(base)-1] == '/' {
		base = base[:len(base)-1]
	}
	return base + path
}

// readJSON reads an answer that is one JSON value.
func readJSON(r io.Reader, into any) error {
	raw, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return err
	}
	if len(raw) > maxAnswer {
		return ErrAnswer
	}
	return json.Unmarshal(raw, into)
}
