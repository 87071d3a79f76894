// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/internal/answer"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// recorder records the calls of an observer.
type recorder struct {
	calls  []string
	status int
	usage  answer.Usage
	err    error
	onEnd  func()
}

func (o *recorder) Header(status int, _ http.Header) {
	o.calls = append(o.calls, "header")
	o.status = status
}
func (o *recorder) Response(id string) { o.calls = append(o.calls, "response "+id) }
func (o *recorder) FirstToken()        { o.calls = append(o.calls, "token") }
func (o *recorder) Finish(toolCalls bool) {
	o.calls = append(o.calls, fmt.Sprint("finish ", toolCalls))
}
func (o *recorder) Usage(u answer.Usage) { o.calls = append(o.calls, "usage"); o.usage = u }
func (o *recorder) End(err error) {
	o.calls = append(o.calls, "end")
	o.err = err
	if o.onEnd != nil {
		o.onEnd()
	}
}

func (o *recorder) want(t testing.TB, calls string, err error) {
	t.Helper()
	if got := strings.Join(o.calls, " "); got != calls || !errors.Is(o.err, err) || (err == nil) != (o.err == nil) {
		t.Errorf("observer was told %q and %v, want %q and %v", got, o.err, calls, err)
	}
}

func readAttached(t testing.TB, r *http.Request) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.ContentLength != int64(len(b)) || r.Header.Get("Content-Length") != strconv.Itoa(len(b)) || r.TransferEncoding != nil {
		t.Errorf("length %d, header %s, of %d bytes, transfer encoding %v", r.ContentLength, r.Header.Get("Content-Length"), len(b), r.TransferEncoding)
	}
	return string(b)
}

// Every attempt gets the whole scrubbed body, however much the previous one has
// read.
func TestAttach(t *testing.T) {
	h := newHandler(t)
	want := chat("hi [EMAIL_1]")
	e := new(engine)
	e.answer = func(w http.ResponseWriter, r *http.Request) error {
		x := e.exchange
		for n := range len(want) {
			clone := r.Clone(r.Context())
			clone.TransferEncoding = []string{"chunked"}
			if !x.Attach(clone) {
				t.Fatal("nothing to attach")
			}
			_, _ = io.CopyN(io.Discard, clone.Body, int64(n))
			_ = clone.Body.Close()
		}
		clone := r.Clone(r.Context())
		x.Attach(clone)
		if got := readAttached(t, clone); got != want {
			t.Errorf("attached %s", got)
		}
		again, err := clone.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(again); string(b) != want {
			t.Errorf("GetBody gives %s", b)
		}
		w.WriteHeader(http.StatusEarlyHints)
		if !x.Attach(clone) {
			t.Error("an informational header released the body")
		}
		w.WriteHeader(503)
		if x.Attach(clone) || x.Body() != nil {
			t.Error("the body is still there after the header")
		}
		return nil
	}
	serveTo(t, h, postChat("hi "+mail), e)
	if e.exchange.Attach(newRequest("POST", "/", nil)) {
		t.Error("attached after the end")
	}
}

// Attach leaves a request without a body unchanged.
func TestAttachWithoutBody(t *testing.T) {
	h := newHandler(t)
	e := new(engine)
	e.answer = func(_ http.ResponseWriter, r *http.Request) error {
		body := r.Body
		if !e.exchange.Attach(r) || r.Body != body || r.Header.Get("Content-Length") != "" {
			t.Error("a request without a body was changed")
		}
		return nil
	}
	serveTo(t, h, newRequest("GET", "/v1/models", nil), e)
}

func TestObserve(t *testing.T) {
	h := newHandler(t)
	first, second := new(recorder), new(recorder)
	e := new(engine)
	e.answer = func(w http.ResponseWriter, r *http.Request) error {
		e.exchange.Observe(first)
		e.exchange.Observe(second)
		return answerJSON(`{"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":16}}}`)(w, r)
	}
	serveTo(t, h, postChat("hi"), e)
	first.want(t, "end", ErrSuperseded)
	second.want(t, "header usage end", nil)
	if u := second.usage; u.PromptTokens != 20 || u.CachedTokens != 16 || !u.Cached || second.status != 200 {
		t.Errorf("usage %+v, status %d", u, second.status)
	}
	late := new(recorder)
	e.exchange.Observe(late)
	late.want(t, "end", ErrOver)
}

// However a request ends, observers are told once, values are wiped and memory is
// given back.
func TestEndings(t *testing.T) {
	failure := errors.New("failure")
	cases := []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request) error
		calls  string
		err    error
		panics any
	}{
		{"answered", answerJSON(`{}`), "header end", nil, nil},
		{"nothing written", func(http.ResponseWriter, *http.Request) error { return nil }, "end", nil, nil},
		{"error", func(http.ResponseWriter, *http.Request) error { return failure }, "end", failure, nil},
		{"error after the header", func(w http.ResponseWriter, r *http.Request) error {
			_ = answerJSON(`{"a":"[EMA`)(w, r)
			return failure
		}, "header end", failure, nil},
		{"upstream cut", func(w http.ResponseWriter, r *http.Request) error {
			_ = answerJSON(`{"a":"[EMA`)(w, r)
			panic(http.ErrAbortHandler)
		}, "header end", ErrCut, http.ErrAbortHandler},
		{"aborted", func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }, "end", ErrAborted, http.ErrAbortHandler},
		{"panic after the header", func(w http.ResponseWriter, r *http.Request) error {
			_ = answerJSON(`{}`)(w, r)
			panic("bug")
		}, "header end", ErrAborted, "bug"},
		{"panic", func(http.ResponseWriter, *http.Request) error { panic("bug") }, "end", ErrAborted, "bug"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHandler(t)
			o := new(recorder)
			e := new(engine)
			var arena []byte
			e.answer = func(w http.ResponseWriter, r *http.Request) error {
				e.exchange.Observe(o)
				arena = e.exchange.vault.arena[:cap(e.exchange.vault.arena)]
				if !bytes.Contains(arena, []byte(mail)) {
					t.Error("the vault does not hold the value, so the test proves nothing")
				}
				return c.answer(w, r)
			}
			func() {
				defer func() {
					if got := recover(); got != c.panics {
						t.Errorf("panic %v, want %v", got, c.panics)
					}
				}()
				_ = h.ServeHTTP(httptest.NewRecorder(), postChat("hi "+mail), e)
			}()
			o.want(t, c.calls, c.err)
			if bytes.Count(arena, []byte{0}) != len(arena) {
				t.Error("values are left in the vault")
			}
			if x := e.exchange; x.body != nil || x.doc != nil || x.vault.Len() != 0 {
				t.Error("the exchange still holds the request")
			}
			wantEmpty(t, h.queue)
		})
	}
}

// The values are wiped even if an observer panics.
func TestEndPanics(t *testing.T) {
	h := newHandler(t)
	o := &recorder{onEnd: func() { panic("bug in the observer") }}
	e := new(engine)
	var arena []byte
	e.answer = func(http.ResponseWriter, *http.Request) error {
		e.exchange.Observe(o)
		arena = e.exchange.vault.arena[:cap(e.exchange.vault.arena)]
		return nil
	}
	func() {
		defer func() { _ = recover() }()
		_ = h.ServeHTTP(httptest.NewRecorder(), postChat("hi "+mail), e)
	}()
	if len(o.calls) != 1 || bytes.Count(arena, []byte{0}) != len(arena) {
		t.Errorf("told %v; arena %q", o.calls, arena)
	}
}

// After the header only the vault counts.
func TestBodyIsReleased(t *testing.T) {
	h := newHandler(t)
	e := new(engine)
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		if used := h.queue.Used(); used < 100_000 {
			t.Errorf("%d bytes counted before the header", used)
		}
		w.WriteHeader(200)
		if used, vault := h.queue.Used(), e.exchange.vault.size(); used != vault {
			t.Errorf("%d bytes counted after the header, the vault has %d", used, vault)
		}
		return nil
	}
	serveTo(t, h, postChat(mail+strings.Repeat(" and so on", 10_000)), e)
}

// Nothing is left of the original body once there is a scrubbed copy.
func TestOriginalIsWiped(t *testing.T) {
	h := newHandler(t)
	x := &Exchange{api: prompt.Chat, restorable: h.restorable}
	body := []byte(chat("hi " + mail))
	x.lease = h.queue.Open(admission.Request{Limit: 1_000_000, Announced: -1})
	if refused := h.understand(newRequest("POST", chatPath, nil), x, body); refused != nil {
		t.Fatal(refused)
	}
	if bytes.Count(body, []byte{0}) != len(body) {
		t.Errorf("left: %q", body)
	}
	x.end(nil)
}

// The client does not get a chunk with usage that it did not ask for.
func TestUsageTakenOut(t *testing.T) {
	h := newHandler(t)
	o := new(recorder)
	e := new(engine)
	const token = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n"
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		e.exchange.AskUsage()
		e.exchange.Observe(o)
		w.Header().Set("Content-Type", "text/event-stream")
		_, err := io.WriteString(w, token+
			"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n"+
			"data: [DONE]\n\n")
		return err
	}
	w := serveTo(t, h, newRequest("POST", chatPath, strings.NewReader(`{"stream":true,"messages":[{"role":"user","content":"x"}]}`)), e)
	if want := token + "data: [DONE]\n\n"; w.Body.String() != want {
		t.Errorf("answered %q, want %q", w.Body, want)
	}
	o.want(t, "header token usage end", nil)
	if o.usage.CachedTokens != 4 {
		t.Errorf("usage %+v", o.usage)
	}
}

// The observer is told that an answer is complete and whether it asks for tools,
// but not if the answer was cut off.
func TestFinish(t *testing.T) {
	for body, want := range map[string]string{
		`{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}`:       "header finish false end",
		`{"choices":[{"index":0,"message":{"content":null},"finish_reason":"tool_calls"}]}`: "header finish true end",
		`{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":null}]}`:         "header end",
	} {
		h, o, e := newHandler(t), new(recorder), new(engine)
		e.answer = func(w http.ResponseWriter, r *http.Request) error {
			e.exchange.Observe(o)
			return answerJSON(body)(w, r)
		}
		serveTo(t, h, postChat("hi"), e)
		o.want(t, want, nil)
	}
}

// Without a janitor there is no Exchange.
func TestFromWithoutJanitor(t *testing.T) {
	if _, ok := From(newRequest("POST", "/", nil)); ok {
		t.Error("From returns an exchange that nobody made")
	}
	if _, ok := From(httptest.NewRequest("POST", "/", nil)); ok {
		t.Error("an exchange without request variables")
	}
}
