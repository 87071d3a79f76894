// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// call is one HTTP request and its answer.
type call struct {
	engine *Engine
	w      http.ResponseWriter
	r      *http.Request
	body   []byte
	number int64
	faults requestFaults
}

// route is one endpoint.
type route struct {
	method string
	serve  func(*call)
}

var routes = map[string]route{
	"/v1/chat/completions":        {http.MethodPost, func(c *call) { c.generate(Chat) }},
	"/v1/completions":             {http.MethodPost, func(c *call) { c.generate(Completions) }},
	"/v1/responses":               {http.MethodPost, func(c *call) { c.generate(Responses) }},
	"/v1/messages":                {http.MethodPost, func(c *call) { c.generate(Messages) }},
	"/v1/messages/count_tokens":   {http.MethodPost, (*call).countTokens},
	"/v1/embeddings":              {http.MethodPost, (*call).embed},
	"/v1/chat/completions/render": {http.MethodPost, func(c *call) { c.render(Chat) }},
	"/v1/completions/render":      {http.MethodPost, func(c *call) { c.render(Completions) }},
	"/v1/messages/render":         {http.MethodPost, func(c *call) { c.render(Messages) }},
	"/v1/responses/render":        {http.MethodPost, func(c *call) { c.render(Responses) }},
	"/tokenize":                   {http.MethodPost, (*call).tokenize},
	"/detokenize":                 {http.MethodPost, (*call).detokenize},
	"/reset_prefix_cache":         {http.MethodPost, (*call).resetPrefixCache},
	"/v1/models":                  {http.MethodGet, (*call).models},
	"/health":                     {http.MethodGet, func(c *call) { c.w.WriteHeader(http.StatusOK) }},
	"/version":                    {http.MethodGet, (*call).version},
	"/load":                       {http.MethodGet, (*call).load},
	"/kv_event_sources":           {http.MethodGet, (*call).eventSources},
	"/metrics":                    {http.MethodGet, (*call).metrics},
}

// ServeHTTP answers as a vLLM node does.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "enginesim (a simulation of vLLM)")
	c := &call{engine: e, w: w, r: r, number: e.requests.Add(1), faults: e.faults.match(r)}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, e.cfg.MaxBody))
	c.body = body
	e.log.receive(Received{Request: c.number, Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: body})
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			c.fail(&apiError{http.StatusRequestEntityTooLarge, "BadRequestError", "the body is larger than this node takes"})
		} else {
			c.fail(badRequest("the body ended early"))
		}
		return
	}
	if !c.faults.before(c) {
		return
	}
	switch route, ok := routes[r.URL.Path]; {
	case !ok && strings.HasPrefix(r.URL.Path, storedPath):
		c.storedResponse()
	case !ok:
		c.json(http.StatusNotFound, map[string]string{"detail": "Not Found"})
	case route.method != r.Method:
		w.Header().Set("Allow", route.method)
		c.json(http.StatusMethodNotAllowed, map[string]string{"detail": "Method Not Allowed"})
	default:
		route.serve(c)
	}
}

// pause waits for one of two events. It aborts the request if the client or the
// engine goes away first.
func (c *call) pause(timer <-chan time.Time, healed <-chan struct{}) {
	select {
	case <-timer:
	case <-healed:
	case <-c.r.Context().Done():
		panic(http.ErrAbortHandler)
	case <-c.engine.stop:
		panic(http.ErrAbortHandler)
	}
}

// fail answers with an error in the format of the API.
func (c *call) fail(err *apiError) {
	if strings.HasPrefix(c.r.URL.Path, "/v1/messages") {
		c.json(err.status, map[string]any{
			"type":  "error",
			"error": map[string]string{"type": err.kind, "message": err.message},
		})
		return
	}
	c.json(err.status, map[string]any{
		"error": map[string]any{"message": err.message, "type": err.kind, "param": nil, "code": err.status},
	})
}

// json sends a whole answer.
func (c *call) json(status int, v any) {
	c.send(status, "application/json", encode(nil, v))
}

func (c *call) send(status int, contentType string, body []byte) {
	c.w.Header().Set("Content-Type", contentType)
	s := c.answerWriter(status)
	if c.faults.cut >= 0 {
		s.write(body[:len(body)/2])
		s.abort()
	}
	s.write(body)
	s.close()
}

// answerWriter writes the body of an answer.
type answerWriter struct {
	call    *call
	out     io.Writer
	zip     *gzip.Writer // nil unless a fault asks for it
	records int          // of a stream, sent so far
}

// answerWriter sends the header and returns the writer of the body.
func (c *call) answerWriter(status int) *answerWriter {
	s := &answerWriter{call: c, out: c.w}
	if c.faults.gzip {
		c.w.Header().Set("Content-Encoding", "gzip")
		s.zip = gzip.NewWriter(c.w)
		s.out = s.zip
	}
	c.w.WriteHeader(status)
	return s
}

// write ignores errors: they mean that the client has gone, and its context ends
// then.
func (s *answerWriter) write(p []byte) { _, _ = s.out.Write(p) }

// record sends one record of a stream, unless a fault ends or stalls it.
func (s *answerWriter) record(p []byte) {
	f := &s.call.faults
	if f.stall >= 0 && s.records >= f.stall {
		s.flush()
		s.call.pause(nil, f.healed)
		f.stall = -1
	}
	if f.cut >= 0 && s.records >= f.cut {
		s.abort()
	}
	s.write(p)
	s.records++
}

func (s *answerWriter) flush() {
	if s.zip != nil {
		_ = s.zip.Flush()
	}
	_ = http.NewResponseController(s.call.w).Flush()
}

// abort flushes and breaks the connection.
func (s *answerWriter) abort() {
	s.flush()
	panic(http.ErrAbortHandler)
}

func (s *answerWriter) close() {
	if s.zip != nil {
		_ = s.zip.Close()
	}
}

// encode appends v as JSON without escaping < and >, like Python.
func encode(dst []byte, v any) []byte {
	buf := bytes.NewBuffer(dst)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // only our own types get here
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
