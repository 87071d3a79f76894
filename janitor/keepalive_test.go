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
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/answer"
)

// waiting serves a streamed request whose comments the test itself sends.
func waiting(t *testing.T, path string, answer func(w http.ResponseWriter, x *Exchange, comment func()) error) (rec *httptest.ResponseRecorder, o *recorder, failure any) {
	t.Helper()
	h, o, e := newHandler(t), new(recorder), new(engine)
	rec = httptest.NewRecorder()
	rec.Header().Set("Server", "Caddy")
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		e.exchange.Observe(o)
		e.exchange.KeepAlive(time.Hour)
		return answer(w, e.exchange, e.exchange.writer.comment)
	}
	defer func() {
		if p := recover(); p != nil {
			failure = p
		}
	}()
	r := newRequest("POST", path, strings.NewReader(strings.Replace(anyPrompt, `"x"`, `"`+mail+`"`, 1)))
	if err := h.ServeHTTP(rec, r, e); err != nil {
		failure = err
	}
	return rec, o, failure
}

// answerStream begins a streamed answer.
func answerStream(w http.ResponseWriter, text string) error {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Engine", "1")
	_, err := io.WriteString(w, text)
	return err
}

// Comments come before the answer and until its first token. They send a header,
// but do not begin the answer.
func TestKeepAliveComments(t *testing.T) {
	for _, api := range apiStreams {
		rec, o, failure := waiting(t, api.path, func(w http.ResponseWriter, x *Exchange, comment func()) error {
			comment()
			comment()
			if len(observerOf(x).calls) > 0 || x.Body() == nil || !x.Attach(newRequest("POST", api.path, nil)) {
				t.Errorf("%s: the comments began the answer", api.path)
			}
			w.WriteHeader(http.StatusEarlyHints) // it cannot be sent any more
			if err := answerStream(w, ": engine\n\n"); err != nil {
				return err
			}
			comment()
			_, err := io.WriteString(w, api.first)
			comment()
			_, _ = io.WriteString(w, api.last)
			comment()
			return err
		})
		want := keepAliveComment + keepAliveComment + ": engine\n\n" + keepAliveComment + api.first + api.last
		if rec.Body.String() != want || failure != nil || o.err != nil {
			t.Errorf("%s: panic %v, ended with %v, got %q", api.path, failure, o.err, rec.Body)
		}
		h := rec.Result().Header
		if rec.Code != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("X-Engine") != "" || h.Get("Server") != "Caddy" || !rec.Flushed {
			t.Errorf("%s: status %d, headers %v", api.path, rec.Code, h)
		}
		if o.status != 200 || o.calls[0] != "header" {
			t.Errorf("%s: the observer was told %v", api.path, o.calls)
		}
	}
}

func observerOf(x *Exchange) *recorder { return x.observer.(*recorder) }

// An answer that comes before the first comment is sent as it is.
func TestKeepAliveNotNeeded(t *testing.T) {
	api := apiStreams[0]
	rec, o, failure := waiting(t, api.path, func(w http.ResponseWriter, _ *Exchange, comment func()) error {
		w.Header().Del("Server")
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Engine", "1")
		w.WriteHeader(http.StatusAccepted)
		comment()
		_, err := io.WriteString(w, api.first+api.last)
		return err
	})
	h := rec.Result().Header
	if rec.Body.String() != keepAliveComment+api.first+api.last || rec.Code != 202 || h.Get("X-Engine") != "1" || h.Get("Server") != "" {
		t.Errorf("status %d, headers %v, got %q", rec.Code, h, rec.Body)
	}
	if failure != nil || o.err != nil {
		t.Errorf("panic %v, ended with %v", failure, o.err)
	}

	rec, o, failure = waiting(t, api.path, func(w http.ResponseWriter, _ *Exchange, comment func()) error {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
		comment()
		_, err := io.WriteString(w, "busy")
		comment()
		return err
	})
	if rec.Code != 503 || rec.Result().Header.Get("Retry-After") != "7" || rec.Body.String() != "busy" || failure != nil || o.err != nil {
		t.Errorf("status %d, headers %v, got %q, panic %v, ended with %v", rec.Code, rec.Result().Header, rec.Body, failure, o.err)
	}

	failed := caddyhttp.Error(http.StatusBadGateway, errors.New("failure"))
	rec, _, failure = waiting(t, api.path, func(http.ResponseWriter, *Exchange, func()) error { return failed })
	if rec.Body.Len() > 0 || failure != failed {
		t.Errorf("got %q, error %v", rec.Body, failure)
	}
}

// A comment never comes within an event, also if that is too large to be held back.
func TestKeepAliveBetweenEvents(t *testing.T) {
	api := apiStreams[3]
	large := "data: {\"type\":\"response.created\",\"instructions\":\"" + strings.Repeat("x", answer.MaxEvent) + "\"}\n\n"
	rec, o, failure := waiting(t, api.path, func(w http.ResponseWriter, _ *Exchange, comment func()) error {
		comment()
		err := answerStream(w, large[:len(large)-10])
		comment()
		_, _ = io.WriteString(w, large[len(large)-10:])
		comment()
		_, _ = io.WriteString(w, api.first[:10])
		comment()
		_, _ = io.WriteString(w, api.first[10:]+api.last)
		return err
	})
	if want := keepAliveComment + large + keepAliveComment + keepAliveComment + api.first + api.last; rec.Body.String() != want || failure != nil || o.err != nil {
		t.Errorf("panic %v, ended with %v, got %d bytes, want %d", failure, o.err, rec.Body.Len(), len(want))
	}
}

// lateEvent returns the error event of an API with a message.
func lateEvent(path, kind, code, message string) string {
	switch path {
	case "/v1/messages":
		return "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"" + kind + "\",\"message\":\"" + message + "\"}}\n\n"
	case "/v1/responses":
		inner := "\"message\":\"" + message + "\",\"type\":\"" + kind + "\",\"param\":null,\"code\":\"" + code + "\""
		return "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"" + code + "\",\"message\":\"" + message + "\",\"param\":null,\"error\":{" + inner + "}}\n\n"
	}
	return "data: {\"error\":{\"message\":\"" + message + "\",\"type\":\"" + kind + "\",\"param\":null,\"code\":\"" + code + "\"}}\n\n"
}

// Once a comment has sent the status, every failure becomes the API's error event,
// and the connection is aborted.
func TestLateFailure(t *testing.T) {
	status := func(code int, media, body string) func(w http.ResponseWriter, x *Exchange) error {
		return func(w http.ResponseWriter, _ *Exchange) error {
			w.Header().Set("Content-Type", media)
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(code)
			_, err := io.WriteString(w, body)
			return err
		}
	}
	failed := caddyhttp.Error(http.StatusServiceUnavailable, errors.New("dial 10.0.0.1"))
	for _, c := range []struct {
		name            string
		answer          func(w http.ResponseWriter, x *Exchange) error
		openAI, claude  string // the error's type
		code, message   string
		err             error
		observedNothing bool
	}{
		{name: "engine's error", answer: status(500, "application/json", "{\n\"error\":{\"message\":\"out of <memory>\",\"code\":500}}"),
			openAI: "server_error", claude: "api_error", code: "engine_error", message: `out of \u003cmemory\u003e`},
		{name: "engine's older error", answer: status(400, "application/json", `{"object":"error","message":"too long"}`),
			openAI: "invalid_request_error", claude: "invalid_request_error", code: "engine_error", message: "too long"},
		{name: "engine's web server", answer: status(429, "application/json", `{"detail":"slow down"}`),
			openAI: "rate_limit_error", claude: "rate_limit_error", code: "engine_error", message: "slow down"},
		{name: "error as text", answer: status(500, "application/json", `{"error":"CUDA error"}`),
			openAI: "server_error", claude: "api_error", code: "engine_error", message: "CUDA error"},
		{name: "quotes the prompt", answer: status(400, "application/json", `{"error":{"message":"bad [EMAIL_1]"}}`),
			openAI: "invalid_request_error", claude: "invalid_request_error", code: "engine_error", message: "bad " + mail},
		{name: "no JSON", answer: status(502, "text/html", "<html>secret</html>"),
			openAI: "server_error", claude: "api_error", code: "engine_error", message: "the engine answered with status 502"},
		{name: "too large", answer: status(502, "application/json", `{"error":{"message":"`+strings.Repeat("x", maxLateBody)+`"}}`),
			openAI: "server_error", claude: "api_error", code: "engine_error", message: "the engine answered with status 502"},
		{name: "a stream with status 500", answer: status(500, "text/event-stream", "data: {}\n\n"),
			openAI: "server_error", claude: "api_error", code: "engine_error", message: "the engine answered with status 500"},
		{name: "no stream", answer: status(200, "application/json", `{"choices":[]}`),
			openAI: "server_error", claude: "api_error", code: "no_stream", message: "the engine did not answer with a stream of events"},
		{name: "no such model", answer: status(404, "application/json", `{"error":{"message":"no model"}}`),
			openAI: "invalid_request_error", claude: "not_found_error", code: "engine_error", message: "no model"},
		{name: "proxy's error", answer: func(http.ResponseWriter, *Exchange) error { return failed }, observedNothing: true,
			openAI: "server_error", claude: "overloaded_error", code: "no_answer", message: "no engine could answer (status 503)", err: failed},
		{name: "nothing", answer: func(http.ResponseWriter, *Exchange) error { return nil }, observedNothing: true,
			openAI: "server_error", claude: "api_error", code: "no_answer", message: "no engine could answer (status 502)"},
		{name: "overload", answer: func(w http.ResponseWriter, x *Exchange) error {
			x.RefuseOverload(w, newRequest("POST", "/", nil), time.Second)
			return failed
		}, observedNothing: true, openAI: "rate_limit_error", claude: "rate_limit_error", code: "overload", message: refuseOverload.message, err: ErrRefused},
	} {
		for _, api := range apiStreams {
			rec, o, failure := waiting(t, api.path, func(w http.ResponseWriter, x *Exchange, comment func()) error {
				comment()
				err := c.answer(w, x)
				if x.writer.committed {
					comment()
				}
				return err
			})
			kind := c.openAI
			if api.path == "/v1/messages" {
				kind = c.claude
			}
			if want := keepAliveComment + lateEvent(api.path, kind, c.code, c.message); rec.Body.String() != want || rec.Code != 200 {
				t.Errorf("%s, %s: status %d, got\n%s\nwant\n%s", api.path, c.name, rec.Code, rec.Body, want)
			}
			if failure != http.ErrAbortHandler || !errors.Is(o.err, c.err) || (o.err == nil) != (c.err == nil) || c.observedNothing != (o.status == 0) {
				t.Errorf("%s, %s: panic %v, ended with %v, observed status %d", api.path, c.name, failure, o.err, o.status)
			}
		}
	}
}

// A compressed error is decompressed, and one that is cut off counts as a cut.
func TestLateFailureOddly(t *testing.T) {
	api := apiStreams[0]
	packed := compress(t, "gzip", `{"error":{"message":"out of memory"}}`)
	for name, c := range map[string]struct {
		coding  string
		body    []byte
		breaks  bool
		message string
		err     error
	}{
		"compressed": {"gzip", packed, false, "out of memory", nil},
		"exotic":     {"exotic", packed, false, "the engine answered with status 500", nil},
		"cut off":    {"", []byte(`{"error":{"mess`), true, "the engine answered with status 500", ErrCut},
	} {
		rec, o, failure := waiting(t, api.path, func(w http.ResponseWriter, _ *Exchange, comment func()) error {
			comment()
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", c.coding)
			w.WriteHeader(500)
			_, err := w.Write(c.body)
			if c.breaks {
				panic(http.ErrAbortHandler)
			}
			return err
		})
		if want := keepAliveComment + lateEvent(api.path, "server_error", "engine_error", c.message); rec.Body.String() != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, rec.Body, want)
		}
		if failure != http.ErrAbortHandler || !errors.Is(o.err, c.err) || (o.err == nil) != (c.err == nil) {
			t.Errorf("%s: panic %v, ended with %v", name, failure, o.err)
		}
	}
}

// A stream that is cut off behind comments ends as any other.
func TestKeepAliveThenCut(t *testing.T) {
	for _, api := range apiStreams {
		rec, o, failure := waiting(t, api.path, func(w http.ResponseWriter, _ *Exchange, comment func()) error {
			comment()
			return answerStream(w, api.first+"data: {")
		})
		if rec.Body.String() != keepAliveComment+api.first+api.cut || failure != http.ErrAbortHandler || !errors.Is(o.err, ErrCut) {
			t.Errorf("%s: panic %v, ended with %v, got %q", api.path, failure, o.err, rec.Body)
		}
	}
}

// A client that leaves gets no more comments and no event.
func TestKeepAliveClientLeaves(t *testing.T) {
	h, o, e := newHandler(t), new(recorder), new(engine)
	rec := httptest.NewRecorder()
	r := newRequest("POST", chatPath, strings.NewReader(anyPrompt))
	ctx, leave := context.WithCancel(r.Context())
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		e.exchange.Observe(o)
		e.exchange.KeepAlive(time.Hour)
		e.exchange.writer.comment()
		leave()
		e.exchange.writer.comment()
		w.WriteHeader(499)
		return nil
	}
	if err := h.ServeHTTP(rec, r.WithContext(ctx), e); err != nil {
		t.Error(err)
	}
	o.want(t, "end", ErrClientLeft)
	if rec.Body.String() != keepAliveComment {
		t.Errorf("got %q", rec.Body)
	}

	gone := &goneWriter{header: make(http.Header)}
	o = new(recorder)
	e.answer = func(http.ResponseWriter, *http.Request) error {
		e.exchange.Observe(o)
		e.exchange.KeepAlive(time.Hour)
		e.exchange.writer.comment()
		return caddyhttp.Error(http.StatusBadGateway, errors.New("failure"))
	}
	if err := h.ServeHTTP(gone, newRequest("POST", chatPath, strings.NewReader(anyPrompt)), e); err == nil {
		t.Error("the error of the handlers behind was lost")
	}
	o.want(t, "end", ErrClientLeft)
}

// Requests that ask for no stream get no comments, nor does one that is over.
func TestKeepAliveOnlyForStreams(t *testing.T) {
	for _, c := range [][2]string{
		{chatPath, `{"messages":[{"role":"user","content":"x"}]}`},
		{"/v1/embeddings", `{"stream":true,"input":"x"}`},
		{"/v1/anything", `{"stream":true}`},
	} {
		h, e := newHandler(t), new(engine)
		e.answer = func(http.ResponseWriter, *http.Request) error {
			e.exchange.KeepAlive(time.Hour)
			if e.exchange.writer.keep != nil {
				t.Errorf("%s %s: comments", c[0], c[1])
			}
			return nil
		}
		serveTo(t, h, newRequest("POST", c[0], strings.NewReader(c[1])), e)
		e.exchange.KeepAlive(time.Hour)
		if e.exchange.writer.keep != nil {
			t.Errorf("%s %s: comments after the end", c[0], c[1])
		}
	}
}

// The timer sends comments on its own while the answer is written, and none when
// the request is over. The race detector watches.
func TestKeepAliveTimer(t *testing.T) {
	for range 20 {
		h, e := newHandler(t), new(engine)
		rec := httptest.NewRecorder()
		e.answer = func(w http.ResponseWriter, _ *http.Request) error {
			x := e.exchange
			x.KeepAlive(50 * time.Microsecond)
			commented := func() bool { x.writer.mu.Lock(); defer x.writer.mu.Unlock(); return x.writer.keep.begun }
			for !commented() {
				w.Header().Set("X-Engine", "1")
			}
			err := answerStream(w, "")
			for range 200 {
				if _, err := io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n"); err != nil {
					return err
				}
				_ = http.NewResponseController(w).Flush()
			}
			_, _ = io.WriteString(w, apiStreams[0].first+apiStreams[0].last)
			return err
		}
		if err := h.ServeHTTP(rec, newRequest("POST", chatPath, strings.NewReader(anyPrompt)), e); err != nil {
			t.Fatal(err)
		}
		got := rec.Body.String()
		events := strings.Split(strings.ReplaceAll(got, keepAliveComment, ""), "\n\n")
		if len(events) != 203 || !strings.HasSuffix(got, apiStreams[0].first+apiStreams[0].last) {
			t.Fatalf("%d events, got %q", len(events), got)
		}
	}
}
