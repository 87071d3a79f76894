// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const restored = `{"choices":[{"message":{"content":"write to ` + mail + `!"}}]}`

var placeheld = strings.Replace(restored, mail, "[EMAIL_1]", 1)

// The client gets its own values back in each kind of answer.
func TestRestoring(t *testing.T) {
	event := "data: " + placeheld + "\n\ndata: [DONE]\n\n"
	cases := []struct {
		name      string
		configure func(*Handler)
		media     string
		answer    string
		want      string
	}{
		{"JSON", nil, "application/json", placeheld, restored},
		{"JSON with a charset", nil, "application/json; charset=utf-8", placeheld, restored},
		{"no type", nil, "", placeheld, restored},
		{"stream", nil, "text/event-stream", event, strings.Replace(event, "[EMAIL_1]", mail, 1)},
		{"something else", nil, "text/plain", placeheld, placeheld},
		{"off", func(h *Handler) { h.Restore = new(bool) }, "application/json", placeheld, placeheld},
		{"only others", func(h *Handler) { h.RestoreEntities = []string{"SSN"} }, "application/json", placeheld, placeheld},
		{"all but this", func(h *Handler) { h.RestoreEntities = []string{"-EMAIL"} }, "application/json", placeheld, placeheld},
		{"named", func(h *Handler) { h.RestoreEntities = []string{"EMAIL"} }, "application/json", placeheld, restored},
		{"redacted", func(h *Handler) { h.Mode = "redact" }, "application/json", placeheld, placeheld},
	}
	for _, c := range cases {
		for step := range 3 {
			t.Run(c.name, func(t *testing.T) {
				h := newHandler(t)
				if c.configure != nil {
					h = newHandler(t, c.configure)
				}
				e := &engine{answer: func(w http.ResponseWriter, _ *http.Request) error {
					w.Header().Set("Content-Type", c.media)
					size := []int{1, 10, len(c.answer)}[step]
					for at := 0; at < len(c.answer); at += size {
						if _, err := io.WriteString(w, c.answer[at:min(at+size, len(c.answer))]); err != nil {
							return err
						}
					}
					return nil
				}}
				if w := serveTo(t, h, postChat("to "+mail), e); w.Body.String() != c.want {
					t.Errorf("by %d: answered %s, want %s", step, w.Body, c.want)
				}
			})
		}
	}
}

// Secrets are not restored unless their entity is named.
func TestSecretsAreNotRestored(t *testing.T) {
	token := "gh" + "p_" + "16C7e42F292c6912E7710c838347Ae178B4a"
	answer := answerJSON(`{"choices":[{"message":{"content":"[SECRET_1] [EMAIL_1]"}}]}`)
	for named, want := range map[string]string{"": "[SECRET_1] " + mail, "SECRET": token + " [EMAIL_1]"} {
		h := newHandler(t, func(h *Handler) {
			if named != "" {
				h.RestoreEntities = []string{named}
			}
		})
		e := &engine{answer: answer}
		w := serveTo(t, h, postChat("token "+token+" of "+mail), e)
		if strings.Contains(string(e.body), token) {
			t.Fatalf("the token was forwarded: %s", e.body)
		}
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("named %q: answered %s, want %s", named, w.Body, want)
		}
	}
}

// Lengths and tags of the engine's bytes are dropped exactly when the bytes may
// change.
func TestHeadersOfAnswers(t *testing.T) {
	names := []string{"Content-Length", "Etag", "Digest", "Content-Digest", "Accept-Ranges"}
	cases := []struct {
		name, text, method string
		status             int
		dropped            bool
	}{
		{"restored", mail, "POST", 200, true},
		{"nothing to restore", "hi", "POST", 200, false},
		{"an error", mail, "POST", 500, true},
		{"no content", mail, "POST", 204, false},
		{"not modified", mail, "POST", 304, false},
		{"part of it", mail, "POST", 206, false},
		{"HEAD", mail, "HEAD", 200, false},
	}
	for _, c := range cases {
		h := newHandler(t)
		e := &engine{answer: func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "application/json")
			for _, name := range names {
				w.Header().Set(name, "1")
			}
			w.WriteHeader(c.status)
			return nil
		}}
		w := serveTo(t, h, newRequest(c.method, chatPath, strings.NewReader(chat(c.text))), e)
		if w.Code != c.status {
			t.Errorf("%s: status %d", c.name, w.Code)
		}
		for _, name := range names {
			if got := w.Header().Get(name) == ""; got != c.dropped {
				t.Errorf("%s: %s dropped: %t, want %t", c.name, name, got, c.dropped)
			}
		}
	}
}

// An answer that the engine compressed unasked is restored and observed.
func TestCompressedAnswers(t *testing.T) {
	const usage = `,"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":8}}}`
	plain := strings.TrimSuffix(placeheld, "}") + usage
	for _, name := range codingNames {
		packed := compress(t, name, plain)
		h := newHandler(t)
		o := new(recorder)
		e := new(engine)
		e.answer = func(w http.ResponseWriter, _ *http.Request) error {
			e.exchange.Observe(o)
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", codingHeader(name))
			w.Header().Set("Content-Length", "1")
			for _, b := range packed {
				if _, err := w.Write([]byte{b}); err != nil {
					return err
				}
			}
			return nil
		}
		w := serveTo(t, h, postChat("to "+mail), e)
		if want := strings.Replace(plain, "[EMAIL_1]", mail, 1); w.Body.String() != want || w.Header().Get("Content-Encoding") != "" || w.Header().Get("Content-Length") != "" {
			t.Errorf("%s: answered %q, headers %v", name, w.Body, w.Header())
		}
		if o.want(t, "header usage end", nil); o.usage.CachedTokens != 8 {
			t.Errorf("%s: usage %+v", name, o.usage)
		}
	}
}

// Compressed answers pass unchanged if nothing needs them, or if they cannot be
// decoded.
func TestCompressedAnswersPass(t *testing.T) {
	for coding, text := range map[string]string{"gzip": "hi", "exotic": mail} {
		h := newHandler(t)
		packed := compress(t, "gzip", placeheld)
		e := &engine{answer: func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", coding)
			_, err := w.Write(packed)
			return err
		}}
		w := serveTo(t, h, postChat(text), e)
		if !bytes.Equal(w.Body.Bytes(), packed) || w.Header().Get("Content-Encoding") != coding {
			t.Errorf("%s: the answer was changed", coding)
		}
	}
}

// The client must notice that a compressed answer was cut off, although it does
// not get the compressed data.
func TestCompressedAnswerCutOff(t *testing.T) {
	h := newHandler(t)
	packed := compress(t, "gzip", placeheld)
	o := new(recorder)
	e := new(engine)
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		e.exchange.Observe(o)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		_, err := w.Write(packed[:len(packed)/2])
		return err
	}
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("panic %v", got)
		}
		o.want(t, "header end", ErrCut)
	}()
	_ = h.ServeHTTP(httptest.NewRecorder(), postChat("to "+mail), e)
}

// The start of a possible placeholder is passed on when the answer ends, even if
// the upstream cut it off.
func TestHeldBackIsFlushed(t *testing.T) {
	for _, aborts := range []bool{false, true} {
		h := newHandler(t)
		e := &engine{answer: func(w http.ResponseWriter, r *http.Request) error {
			_ = answerJSON(`{"choices":[{"message":{"content":"write to [EMAI`)(w, r)
			if aborts {
				panic(http.ErrAbortHandler)
			}
			return nil
		}}
		w := httptest.NewRecorder()
		func() {
			defer func() { _ = recover() }()
			_ = h.ServeHTTP(w, postChat("to "+mail), e)
		}()
		if !strings.HasSuffix(w.Body.String(), "write to [EMAI") {
			t.Errorf("answered %s", w.Body)
		}
	}
}

// A flush reaches the client at once and commits the header.
func TestFlush(t *testing.T) {
	h := newHandler(t)
	rec := httptest.NewRecorder()
	e := &engine{answer: func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "text/event-stream")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
		if !rec.Flushed || rec.Code != 200 {
			t.Error("not flushed")
		}
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"[EMAIL_1]\"}}]}\n\n")
		if !strings.Contains(rec.Body.String(), mail) {
			t.Errorf("a whole event waits: %q", rec.Body)
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
		return nil
	}}
	if err := h.ServeHTTP(rec, postChat(mail), e); err != nil {
		t.Fatal(err)
	}
}

// readerFromRecorder records whether ReadFrom was called.
type readerFromRecorder struct {
	*httptest.ResponseRecorder
	direct bool
}

func (r *readerFromRecorder) ReadFrom(src io.Reader) (int64, error) {
	r.direct = true
	return io.Copy(r.ResponseRecorder, src)
}

// An answer that passes unchanged goes through ReadFrom; another is restored.
func TestReadFrom(t *testing.T) {
	for text, direct := range map[string]bool{"hi": true, mail: false} {
		h := newHandler(t)
		w := &readerFromRecorder{ResponseRecorder: httptest.NewRecorder()}
		e := &engine{answer: func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "application/json")
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(placeheld))
			return err
		}}
		if err := h.ServeHTTP(w, postChat(text), e); err != nil {
			t.Fatal(err)
		}
		want := placeheld
		if !direct {
			want = restored
		}
		if w.direct != direct || w.Body.String() != want {
			t.Errorf("%s: direct %t, answered %s", text, w.direct, w.Body)
		}
	}
}

// An error of the client ends the answer.
func TestErrorsOfClients(t *testing.T) {
	h := newHandler(t)
	e := &engine{answer: func(w http.ResponseWriter, r *http.Request) error { return answerJSON(placeheld)(w, r) }}
	err := h.ServeHTTP(&goneWriter{header: make(http.Header)}, postChat(mail), e)
	if err != io.ErrClosedPipe {
		t.Errorf("error %v", err)
	}
}

type goneWriter struct{ header http.Header }

func (g *goneWriter) Header() http.Header       { return g.header }
func (g *goneWriter) WriteHeader(int)           {}
func (g *goneWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A janitor behind a janitor changes nothing.
func TestNested(t *testing.T) {
	outer, inner := newHandler(t), newHandler(t)
	e := &engine{answer: answerJSON(placeheld)}
	w := httptest.NewRecorder()
	err := outer.ServeHTTP(w, postChat("to "+mail), caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return inner.ServeHTTP(w, r, e)
	}))
	if err != nil || string(e.body) != chat("to [EMAIL_1]") || w.Body.String() != restored {
		t.Errorf("%v, forwarded %s, answered %s", err, e.body, w.Body)
	}
}

// The buffers of an answer count, even above the limit: the answer continues, and
// requests that arrive meanwhile are refused.
func TestHeldAnswerIsCounted(t *testing.T) {
	for _, method := range []string{"POST", "GET"} {
		h := newHandler(t, func(h *Handler) {
			h.InFlightLimit = 400_000
			h.MaxSize = 300_000
			h.AdmitWait = caddy.Duration(time.Millisecond)
		})
		e := new(engine)
		start, rest := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", "\"}}]}\n\n"
		const done = "data: [DONE]\n\n"
		e.answer = func(w http.ResponseWriter, _ *http.Request) error {
			e.exchange.Observe(new(recorder))
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, start+"[EMAIL_1]")
			before := h.queue.Used()
			for range 500 {
				_, _ = io.WriteString(w, strings.Repeat("x", 1000))
			}
			if used := h.queue.Used(); used < 500_000 {
				t.Errorf("%s: %d bytes counted while half a megabyte is held", method, used)
			}
			if other, _ := serve(t, h, postChat("hi")); other.Code != 507 {
				t.Errorf("%s: another request above the limit: status %d", method, other.Code)
			}
			_, _ = io.WriteString(w, rest)
			_, _ = io.WriteString(w, start+rest+done)
			if used := h.queue.Used(); used > before+4*footprintFloor {
				t.Errorf("%s: %d bytes are still counted when the event has passed", method, used-before)
			}
			if other, _ := serve(t, h, postChat("hi")); other.Code != 200 {
				t.Errorf("%s: another request with room again: status %d", method, other.Code)
			}
			return nil
		}
		r := postChat("hi " + mail)
		if method == "GET" {
			r = newRequest("GET", "/v1/responses/1", nil)
		}
		w := serveTo(t, h, r, e)
		want := start + mail + strings.Repeat("x", 500_000) + rest + start + rest + done
		if method == "GET" {
			want = strings.Replace(want, mail, "[EMAIL_1]", 1)
		}
		if w.Body.String() != want {
			t.Errorf("%s: the answer came out as %.100s", method, w.Body)
		}
		wantEmpty(t, h.queue)
	}
}

// With unknown pass, an upgraded connection works through the handler's writer,
// and its end is noticed.
func TestUpgradePasses(t *testing.T) {
	h := newHandler(t, func(h *Handler) { h.Unknown = "pass" })
	o := new(recorder)
	ended := make(chan struct{})
	o.onEnd = func() { close(ended) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any))
		_ = h.ServeHTTP(w, r.WithContext(ctx), caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			x, _ := From(r)
			x.Observe(o)
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("hijack: %v", err)
				return err
			}
			defer c.Close()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
			_ = rw.Flush()
			line, err := rw.ReadString('\n')
			_, _ = rw.WriteString(line)
			_ = rw.Flush()
			return err
		}))
	}))
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello\n")
	b, _ := io.ReadAll(c)
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 101")) || !bytes.HasSuffix(b, []byte("hello\n")) {
		t.Errorf("got %q", b)
	}
	<-ended
}
