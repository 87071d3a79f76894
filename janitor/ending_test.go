// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A client that leaves is told from an engine that fails, at each point of the
// answer.
func TestClientLeaves(t *testing.T) {
	gone := &goneWriter{header: make(http.Header)}
	cut := func() error { panic(http.ErrAbortHandler) }
	cases := []struct {
		name   string
		client http.ResponseWriter // nil: takes all
		answer func(w http.ResponseWriter, r *http.Request, leave func()) error
		calls  string
		err    error
	}{
		{"before the header", nil, func(w http.ResponseWriter, _ *http.Request, leave func()) error {
			leave()
			w.WriteHeader(499)
			return nil
		}, "end", ErrClientLeft},
		{"before the header, with an error", nil, func(_ http.ResponseWriter, _ *http.Request, leave func()) error {
			leave()
			return errors.New("failure")
		}, "end", ErrClientLeft},
		{"in the middle", nil, func(w http.ResponseWriter, r *http.Request, leave func()) error {
			_ = answerJSON(`{"a":`)(w, r)
			leave()
			return cut()
		}, "header end", ErrClientLeft},
		{"noticed by a write", gone, func(w http.ResponseWriter, r *http.Request, _ func()) error {
			if answerJSON(`{"a":`)(w, r) != nil {
				return cut()
			}
			return nil
		}, "header end", ErrClientLeft},
		{"noticed by the last write", gone, func(w http.ResponseWriter, r *http.Request, _ func()) error {
			_ = answerJSON(`{"a":"[E`)(w, r)
			return nil
		}, "header end", ErrClientLeft},
		{"with the whole answer", nil, func(w http.ResponseWriter, r *http.Request, leave func()) error {
			err := answerJSON(`{}`)(w, r)
			leave()
			return err
		}, "header end", nil},
		{"not: the engine answers 499", nil, func(w http.ResponseWriter, _ *http.Request, _ func()) error {
			w.WriteHeader(499)
			return nil
		}, "header end", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h, o, e := newHandler(t), new(recorder), new(engine)
			r := postChat("hi " + mail)
			ctx, leave := context.WithCancel(r.Context())
			defer leave()
			e.answer = func(w http.ResponseWriter, r *http.Request) error {
				e.exchange.Observe(o)
				return c.answer(w, r, leave)
			}
			if c.client == nil {
				c.client = httptest.NewRecorder()
			}
			func() {
				defer func() { _ = recover() }()
				_ = h.ServeHTTP(c.client, r.WithContext(ctx), e)
			}()
			o.want(t, c.calls, c.err)
		})
	}
}

// The usage of an answer that was cut off is reported before its end.
func TestUsageBeforeCut(t *testing.T) {
	h, o, e := newHandler(t), new(recorder), new(engine)
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		e.exchange.Observe(o)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5}}\n\n")
		panic(http.ErrAbortHandler)
	}
	func() {
		defer func() { _ = recover() }()
		_ = h.ServeHTTP(httptest.NewRecorder(), postChat("hi"), e)
	}()
	o.want(t, "header usage end", ErrCut)
}
