// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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

// apiStreams has for each API a streamed answer, its last event, and the event by
// which the client learns that the answer was cut off.
var apiStreams = []struct {
	path, first, last, cut string
}{
	{"/v1/chat/completions",
		"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n", "data: [DONE]\n\n",
		"data: {\"error\":{\"message\":\"" + refuseCut.message + "\",\"type\":\"server_error\",\"param\":null,\"code\":\"answer_cut_off\"}}\n\n"},
	{"/v1/completions",
		"data: {\"choices\":[{\"index\":0,\"text\":\"hi\",\"finish_reason\":null}]}\n\n", "data: [DONE]\n\n",
		"data: {\"error\":{\"message\":\"" + refuseCut.message + "\",\"type\":\"server_error\",\"param\":null,\"code\":\"answer_cut_off\"}}\n\n"},
	{"/v1/messages",
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
		"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"" + refuseCut.message + "\"}}\n\n"},
	{"/v1/responses",
		"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"delta\":\"hi\"}\n\n",
		"event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":5,\"response\":{}}\n\n",
		"event: error\ndata: {\"type\":\"error\",\"sequence_number\":5,\"code\":\"answer_cut_off\",\"message\":\"" + refuseCut.message + "\",\"param\":null," +
			"\"error\":{\"message\":\"" + refuseCut.message + "\",\"type\":\"server_error\",\"param\":null,\"code\":\"answer_cut_off\"}}\n\n"},
}

// anyPrompt is a request body for all APIs: each reads its own members.
const anyPrompt = `{"stream":true,"max_tokens":9,"messages":[{"role":"user","content":"x"}],"prompt":"x","input":"x"}`

// stream serves one streamed request, and returns what the client got, what the
// observer was told, and the panic.
func stream(t *testing.T, h *Handler, path string, answer func(w http.ResponseWriter, leave func()) error) (rec *httptest.ResponseRecorder, o *recorder, failure any) {
	t.Helper()
	rec, o = httptest.NewRecorder(), new(recorder)
	e := new(engine)
	r := newRequest("POST", path, strings.NewReader(anyPrompt))
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		e.exchange.Observe(o)
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.Header().Set("Content-Length", "1000")
		return answer(w, leave)
	}
	defer func() { failure = recover() }()
	_ = h.ServeHTTP(rec, r.WithContext(ctx), e)
	return rec, o, nil
}

// A stream that is cut off ends with an error event and an aborted connection. The
// unfinished event is dropped.
func TestCutStreams(t *testing.T) {
	for _, api := range apiStreams {
		for name, c := range map[string]struct {
			sent    string
			breaks  bool
			want    string
			failure any
			err     error
		}{
			"breaks between events":    {api.first, true, api.first + api.cut, http.ErrAbortHandler, ErrCut},
			"breaks within an event":   {api.first + api.first[:len(api.first)-5], true, api.first + api.cut, http.ErrAbortHandler, ErrCut},
			"ends between events":      {api.first, false, api.first + api.cut, http.ErrAbortHandler, ErrCut},
			"ends within an event":     {api.first + api.last[:len(api.last)-6], false, api.first + api.cut, http.ErrAbortHandler, ErrCut},
			"breaks behind the answer": {api.first + api.last, true, api.first + api.last, http.ErrAbortHandler, nil},
			"ends":                     {api.first + api.last, false, api.first + api.last, nil, nil},
			"ends without line feeds":  {api.first + api.last[:len(api.last)-2], false, api.first + api.last[:len(api.last)-2], nil, nil},
		} {
			rec, o, failure := stream(t, newHandler(t), api.path, func(w http.ResponseWriter, _ func()) error {
				_, err := io.WriteString(w, c.sent)
				if c.breaks {
					panic(http.ErrAbortHandler)
				}
				return err
			})
			if rec.Body.String() != c.want || failure != c.failure || !errors.Is(o.err, c.err) || (o.err == nil) != (c.err == nil) {
				t.Errorf("%s %s: panic %v, ended with %v, got %q, want %q", api.path, name, failure, o.err, rec.Body, c.want)
			}
			if c.err != nil && (!rec.Flushed || rec.Header().Get("Content-Length") != "") {
				t.Errorf("%s %s: flushed %t, headers %v", api.path, name, rec.Flushed, rec.Header())
			}
		}
	}
}

// An engine that reports an error in place of the rest of an answer has failed, unless
// the request is at fault. The client gets the engine's own words.
func TestErrorsInStreams(t *testing.T) {
	for sent, want := range map[string]error{
		"data: {\"error\":{\"message\":\"out of memory\",\"type\":\"InternalServerError\",\"code\":500}}\n\ndata: [DONE]\n\n": ErrCut,
		"data: {\"error\":{\"message\":\"too long\",\"type\":\"BadRequestError\",\"code\":400}}\n\ndata: [DONE]\n\n":          nil,
	} {
		for _, breaks := range []bool{false, true} {
			rec, o, _ := stream(t, newHandler(t), chatPath, func(w http.ResponseWriter, _ func()) error {
				_, err := io.WriteString(w, apiStreams[0].first+sent)
				if breaks {
					panic(http.ErrAbortHandler)
				}
				return err
			})
			if rec.Body.String() != apiStreams[0].first+sent || !errors.Is(o.err, want) || (o.err == nil) != (want == nil) {
				t.Errorf("%q, breaks: %t: ended with %v, got %q", sent, breaks, o.err, rec.Body)
			}
		}
	}
}

// A client that has left gets no error event, and the engine is not blamed.
func TestNothingForClientThatLeft(t *testing.T) {
	for _, api := range apiStreams {
		rec, o, _ := stream(t, newHandler(t), api.path, func(w http.ResponseWriter, leave func()) error {
			_, _ = io.WriteString(w, api.first+"data: {")
			leave()
			panic(http.ErrAbortHandler)
		})
		if rec.Body.String() != api.first || !errors.Is(o.err, ErrClientLeft) {
			t.Errorf("%s: ended with %v, got %q", api.path, o.err, rec.Body)
		}
	}
}

// Streams that no API ends, and errors, pass as they are.
func TestStreamsWithoutEnd(t *testing.T) {
	for _, c := range []struct {
		path   string
		status int
		coding string
	}{
		{"/v1/embeddings", 200, ""}, {"/other", 200, ""}, {chatPath, 500, ""}, {chatPath, 200, "exotic"},
	} {
		const sent = "data: {\"a\":1}\n\ndata: {"
		rec, o, failure := stream(t, newHandler(t), c.path, func(w http.ResponseWriter, _ func()) error {
			w.Header().Set("Content-Encoding", c.coding)
			w.WriteHeader(c.status)
			_, err := io.WriteString(w, sent)
			return err
		})
		if rec.Body.String() != sent || failure != nil || o.err != nil {
			t.Errorf("%s %d: panic %v, ended with %v, got %q", c.path, c.status, failure, o.err, rec.Body)
		}
	}
}

// A compressed stream that is cut off ends like any other.
func TestCompressedStreamCut(t *testing.T) {
	api := apiStreams[0]
	for _, name := range codingNames {
		packed := compress(t, name, api.first+api.last)
		for _, cut := range []int{len(packed), len(packed) / 2, 0} {
			rec, o, failure := stream(t, newHandler(t), api.path, func(w http.ResponseWriter, _ func()) error {
				w.Header().Set("Content-Encoding", codingHeader(name))
				_, err := w.Write(packed[:cut])
				return err
			})
			switch {
			case cut == len(packed):
				if rec.Body.String() != api.first+api.last || o.err != nil || failure != nil {
					t.Errorf("%s whole: panic %v, ended with %v, got %q", name, failure, o.err, rec.Body)
				}
			case !strings.HasSuffix(rec.Body.String(), api.cut) || !errors.Is(o.err, ErrCut) || failure != http.ErrAbortHandler:
				t.Errorf("%s cut at %d: panic %v, ended with %v, got %q", name, cut, failure, o.err, rec.Body)
			}
		}
	}
}
