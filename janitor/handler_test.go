// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// newHandler returns a handler with a queue of its own, which must be empty at
// the end of the test.
func newHandler(t testing.TB, configure ...func(*Handler)) *Handler {
	t.Helper()
	h := new(Handler)
	for _, c := range configure {
		c(h)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := errors.Join(h.Provision(ctx), h.Validate()); err != nil {
		t.Fatal(err)
	}
	h.queue = admission.New()
	h.logger = zap.NewNop()
	t.Cleanup(func() { wantEmpty(t, h.queue) })
	return h
}

// wantEmpty fails unless no request holds anything or waits.
func wantEmpty(t testing.TB, b *admission.Queue) {
	t.Helper()
	if s := b.Stats(); s != (admission.Stats{}) {
		t.Errorf("the queue is not empty: %+v", s)
	}
}

// newRequest makes a request as Caddy's server does.
func newRequest(method, path string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, path, body)
	ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any))
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	return r.WithContext(ctx)
}

// engine is the handler behind the janitor. It keeps the request and answers it.
type engine struct {
	called   bool
	header   http.Header
	length   int64
	body     []byte
	exchange *Exchange
	answer   func(w http.ResponseWriter, r *http.Request) error
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	e.called = true
	e.header, e.length = r.Header.Clone(), r.ContentLength
	e.exchange, _ = From(r)
	var err error
	if r.Body != nil {
		if e.body, err = io.ReadAll(r.Body); err != nil {
			return err
		}
	}
	if e.answer != nil {
		return e.answer(w, r)
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write([]byte(`{"ok":true}`))
	return err
}

// serve sends a request through the handler.
func serve(t testing.TB, h *Handler, r *http.Request) (*httptest.ResponseRecorder, *engine) {
	t.Helper()
	e := new(engine)
	return serveTo(t, h, r, e), e
}

func serveTo(t testing.TB, h *Handler, r *http.Request, e *engine) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, r, e); err != nil {
		t.Fatalf("ServeHTTP: %v", err)
	}
	return w
}

// chat returns a chat request with one user message.
func chat(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return `{"model":"m","messages":[{"role":"user","content":` + string(b) + `}]}`
}

func postChat(text string) *http.Request {
	return newRequest("POST", "/v1/chat/completions", strings.NewReader(chat(text)))
}

const (
	chatPath = "/v1/chat/completions"
	mail     = "john.doe@example.org"
	mail2    = "mary.roe@example.org"
	ssn      = "536-22-8726"
)

// The requests in the table of the documentation are treated as it says.
func TestTable(t *testing.T) {
	cases := []struct {
		name, method, path, body string
		pass                     bool // unknown pass
		header                   http.Header
		status                   int
		forwarded                string // "=": unchanged
		signed                   bool
	}{
		{name: "models", method: "GET", path: "/v1/models", status: 200},
		{name: "empty post", method: "POST", path: chatPath, status: 400},
		{name: "empty post elsewhere", method: "POST", path: "/x", status: 405},
		{name: "management", path: "/collective_rpc", body: `{"method":"f"}`, status: 403},
		{name: "engine members", path: chatPath, body: `{"kv_transfer_params":{"host":"` + mail2 + `"},` + chat(mail)[1:], status: 200,
			forwarded: chat("[EMAIL_1]"), signed: true},
		{name: "engine members of other JSON", path: "/x", body: `{"a":"b","kv_transfer_params":{}}`, status: 200, forwarded: `{"a":"b"}`},
		{name: "chat", path: chatPath, body: chat("to " + mail), status: 200, forwarded: chat("to [EMAIL_1]"), signed: true},
		{name: "stripped prefix", path: "/chat/completions", body: chat(mail), status: 200, forwarded: chat("[EMAIL_1]"), signed: true},
		{name: "other prefix", path: "/llama/v1/chat/completions/", body: chat(mail), status: 200, forwarded: chat("[EMAIL_1]"), signed: true},
		{name: "completions", path: "/v1/completions", body: `{"model":"m","prompt":"` + mail + `"}`, status: 200,
			forwarded: `{"model":"m","prompt":"[EMAIL_1]"}`, signed: true},
		{name: "one prompt in a list", path: "/v1/completions", body: `{"prompt":["` + mail + `"]}`, status: 200,
			forwarded: `{"prompt":["[EMAIL_1]"]}`, signed: true},
		{name: "list of prompts", path: "/v1/completions", body: `{"prompt":["` + mail + `","` + mail2 + `"]}`, status: 200,
			forwarded: `{"prompt":["[EMAIL_1]","[EMAIL_1]"]}`},
		{name: "responses", path: "/v1/responses", body: `{"input":"` + mail + `","instructions":"` + mail2 + `"}`, status: 200,
			forwarded: `{"input":"[EMAIL_2]","instructions":"[EMAIL_1]"}`, signed: true},
		{name: "messages", path: "/v1/messages", body: `{"messages":[{"role":"user","content":"` + mail + `"}],"system":"` + mail2 + `"}`,
			status: 200, forwarded: `{"messages":[{"role":"user","content":"[EMAIL_2]"}],"system":"[EMAIL_1]"}`, signed: true},
		{name: "embeddings", path: "/v1/embeddings", body: `{"input":["a ` + mail + `","b ` + mail2 + `"]}`, status: 200,
			forwarded: `{"input":["a [EMAIL_1]","b [EMAIL_1]"]}`},
		{name: "rerank", path: "/v1/rerank", body: `{"query":"q","documents":["` + mail + `","` + mail2 + `"]}`, status: 200,
			forwarded: `{"query":"q","documents":["[EMAIL_1]","[EMAIL_1]"]}`},
		{name: "score", path: "/score", body: `{"text_1":"` + mail + `","text_2":"` + mail2 + `"}`, status: 200,
			forwarded: `{"text_1":"[EMAIL_1]","text_2":"[EMAIL_1]"}`},
		{name: "tokenize", path: "/tokenize", body: `{"prompt":"` + mail + `"}`, status: 200, forwarded: `{"prompt":"[EMAIL_1]"}`},
		{name: "other JSON", path: "/v1/files/x", body: ` ["` + mail + `",{"a":"` + mail2 + `"}]`, status: 200,
			forwarded: ` ["[EMAIL_1]",{"a":"[EMAIL_2]"}]`},
		{name: "other JSON string", path: "/x", body: `"` + mail + `"`, status: 200, forwarded: `"[EMAIL_1]"`},
		{name: "other broken JSON", path: "/x", body: `{"a":"` + mail + `"`, status: 400},
		{name: "other broken JSON, pass", path: "/x", body: `{"a":"` + mail + `"`, pass: true, status: 400},
		{name: "NDJSON", path: "/x", body: `{"a":1}` + "\n" + `{"a":"` + mail + `"}`, pass: true, status: 400},
		{name: "token ids", path: "/v1/completions", body: `{"prompt":[1,2,3]}`, status: 400},
		{name: "token ids, pass", path: "/v1/completions", body: `{"prompt":[1,2,3],"user":"` + mail + `"}`, pass: true, status: 200,
			forwarded: `{"prompt":[1,2,3],"user":"[EMAIL_1]"}`},
		{name: "lists of token ids", path: "/v1/completions", body: `{"prompt":[[1,2],[3]]}`, status: 400},
		{name: "multipart", path: "/v1/audio/transcriptions", body: "--b\r\n\r\n" + mail, status: 415},
		{name: "multipart, pass", path: "/v1/audio/transcriptions", body: "--b\r\n\r\n" + mail, pass: true, status: 200, forwarded: "="},
		{name: "text on a chat path", path: chatPath, body: "mail " + mail, pass: true, status: 400},
		{name: "wrong shape", path: chatPath, body: `[1]`, status: 400},
		{name: "upgrade", method: "GET", path: "/v1/realtime", header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}, status: 415},
		{name: "upgrade, pass", method: "GET", path: "/v1/realtime", pass: true,
			header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}, status: 200},
		{name: "connect", method: "CONNECT", path: "/x", status: 415},
		{name: "h2c offered", path: chatPath, body: chat(mail), header: http.Header{"Upgrade": {"h2c"}, "Connection": {"Upgrade, HTTP2-Settings"},
			"Http2-Settings": {"AAMAAABkAAQAoAAAAAIAAAAA"}}, status: 200, forwarded: chat("[EMAIL_1]"), signed: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHandler(t, func(h *Handler) {
				if c.pass {
					h.Unknown = "pass"
				}
			})
			method := c.method
			if method == "" {
				method = "POST"
			}
			var body io.Reader
			if c.body != "" {
				body = strings.NewReader(c.body)
			}
			r := newRequest(method, c.path, body)
			for k, v := range c.header {
				r.Header[k] = v
			}
			e := &engine{}
			signed := false
			e.answer = func(w http.ResponseWriter, r *http.Request) error {
				_, signed = e.exchange.Sign([]byte("k"), "m", "", 64, 0)
				w.WriteHeader(200)
				return nil
			}
			w := serveTo(t, h, r, e)
			if w.Code != c.status {
				t.Fatalf("status %d, want %d: %s", w.Code, c.status, w.Body)
			}
			if e.called != (c.status == 200) {
				t.Fatalf("forwarded: %t", e.called)
			}
			if !e.called {
				wantErrorBody(t, w, c.path, "john.doe")
				return
			}
			want := c.forwarded
			if want == "=" {
				want = c.body
			}
			if string(e.body) != want {
				t.Errorf("forwarded\n%s, want\n%s", e.body, want)
			}
			if e.exchange == nil {
				t.Error("no exchange left")
			}
			if signed != c.signed {
				t.Errorf("signed: %t, want %t", signed, c.signed)
			}
			if e.length != int64(len(want)) {
				t.Errorf("length %d, want %d", e.length, len(want))
			}
			if len(e.header["Upgrade"]) > 0 && !c.pass {
				t.Error("Upgrade was forwarded")
			}
		})
	}
}

// wantErrorBody checks the shape of the error, and that it quotes nothing of the
// request.
func wantErrorBody(t testing.TB, w *httptest.ResponseRecorder, path, secret string) {
	t.Helper()
	if strings.Contains(w.Body.String(), secret) {
		t.Errorf("the error quotes the request: %s", w.Body)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("error of type %q", ct)
	}
	if n := w.Header().Get("Content-Length"); n != strconv.Itoa(w.Body.Len()) {
		t.Errorf("Content-Length %s of %d", n, w.Body.Len())
	}
	var v struct {
		Type  string `json:"type"`
		Error struct {
			Message, Type, Code string
		} `json:"error"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("error body: %v", err)
	}
	if v.Error.Message == "" || v.Error.Type == "" {
		t.Errorf("error body incomplete: %s", w.Body)
	}
	if anthropic := strings.Contains(path, "/messages"); anthropic != (v.Type == "error") || anthropic == (v.Error.Code != "") {
		t.Errorf("error of the wrong API: %s", w.Body)
	}
}

// Headers that described the original body are not forwarded.
func TestHeaders(t *testing.T) {
	h := newHandler(t)
	r := postChat("to " + mail)
	for _, name := range []string{"Content-MD5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Encoding", "Trailer", "Expect"} {
		r.Header.Set(name, "x")
	}
	r.Header.Set("Content-Type", "text/plain")
	r.Header.Set("Authorization", "Bearer x")
	r.Trailer = http.Header{"X-Mail": {mail}}
	r.TransferEncoding = []string{"chunked"}
	_, e := serve(t, h, r)
	want := http.Header{
		"Content-Type": {"text/plain"}, "Authorization": {"Bearer x"},
		"Content-Length": {strconv.Itoa(len(chat("to [EMAIL_1]")))},
	}
	if got, _ := json.Marshal(e.header); string(got) != mustJSON(want) {
		t.Errorf("headers %s, want %s", got, mustJSON(want))
	}
	if r.Trailer != nil || r.TransferEncoding != nil {
		t.Error("trailer or transfer encoding were forwarded")
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A request without a body is forwarded unchanged.
func TestUntouched(t *testing.T) {
	h := newHandler(t)
	r := newRequest("GET", "/v1/models", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	_, e := serve(t, h, r)
	if e.header.Get("Accept-Encoding") != "gzip" || len(e.header) != 1 {
		t.Errorf("headers %v", e.header)
	}
	if e.exchange == nil || e.exchange.Body() != nil {
		t.Errorf("exchange %+v", e.exchange)
	}
}

// A body without findings is not copied.
func TestCleanBodyIsTheSameSlice(t *testing.T) {
	h := newHandler(t)
	text := strings.Repeat("nothing to see here. ", 5000)
	r := postChat(text)
	e := &engine{}
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		x := e.exchange
		if &x.body[0] != &x.doc.Body[0] || string(x.body) != chat(text) {
			t.Error("the clean body was copied or changed")
		}
		return nil
	}
	serveTo(t, h, r, e)
}

func TestModes(t *testing.T) {
	block := map[string]string{"SSN": "block"}
	cases := []struct {
		name      string
		mode      string
		modes     map[string]string
		text      string
		status    int
		forwarded string
	}{
		{"placeholder", "", nil, mail + " " + mail2 + " " + mail, 200, "[EMAIL_1] [EMAIL_2] [EMAIL_1]"},
		{"redact", "redact", nil, mail + " " + mail2, 200, "[REDACTED] [REDACTED]"},
		{"block", "block", nil, "hi " + mail, 422, ""},
		{"block, clean", "block", nil, "hi", 200, "hi"},
		{"detect", "detect", nil, "hi " + mail, 200, "hi " + mail},
		{"one entity blocked", "", block, "ssn " + ssn, 422, ""},
		{"another is not", "", block, "hi " + mail, 200, "hi [EMAIL_1]"},
		{"one detected", "redact", map[string]string{"EMAIL": "detect"}, mail + " ssn " + ssn, 200, mail + " ssn [REDACTED]"},
		{"one replaced", "detect", map[string]string{"EMAIL": "placeholder"}, mail + " ssn " + ssn + " " + mail2, 200, "[EMAIL_1] ssn " + ssn + " [EMAIL_2]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHandler(t, func(h *Handler) { h.Mode, h.EntityModes = c.mode, c.modes })
			w, e := serve(t, h, postChat(c.text))
			if w.Code != c.status {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if c.status == 200 && string(e.body) != chat(c.forwarded) {
				t.Errorf("forwarded %s, want %s", e.body, chat(c.forwarded))
			}
		})
	}
}

// Matchers and logs see the model, the API and the number of findings.
func TestPlaceholdersForMatchers(t *testing.T) {
	h := newHandler(t)
	r := newRequest("POST", chatPath, strings.NewReader(
		`{"stream":true,"model":"llama-70b","messages":[{"role":"user","content":"`+mail+` `+mail2+`"}]}`))
	_, e := serve(t, h, r)
	if x := e.exchange; x.Model() != "llama-70b" || x.API() != prompt.Chat || !x.Stream() {
		t.Errorf("exchange: %s %v %t", x.Model(), x.API(), x.Stream())
	}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	got := repl.ReplaceAll("{http.pii_janitor.model} {http.pii_janitor.api} {http.pii_janitor.stream} {http.pii_janitor.findings}", "-")
	if got != "llama-70b chat true 2" {
		t.Errorf("placeholders: %s", got)
	}
}

func TestRefusals(t *testing.T) {
	many := strings.Repeat(mail+" ", maxFindings+1)
	cases := []struct {
		name      string
		configure func(*Handler)
		request   func() *http.Request
		status    int
		code      string
	}{
		{"announced too large", func(h *Handler) { h.MaxSize = 100 }, func() *http.Request { return postChat(strings.Repeat("x", 100)) }, 413, "too_large"},
		{"chunked too large", func(h *Handler) { h.MaxSize = 100 }, func() *http.Request {
			r := postChat(strings.Repeat("x", 100))
			r.ContentLength = -1
			return r
		}, 413, "too_large"},
		{"over the limit", func(h *Handler) { h.InFlightLimit = 1000; h.AdmitWait = 1 }, func() *http.Request { return postChat(strings.Repeat("x", 5000)) }, 507, "no_room"},
		{"too many findings", nil, func() *http.Request { return postChat(many) }, 507, "too_many_findings"},
		{"key", nil, func() *http.Request {
			return newRequest("POST", chatPath, strings.NewReader(`{"messages":[],"metadata":{"`+mail+`":"x"}}`))
		}, 400, "pii_in_key"},
		{"invalid JSON", nil, func() *http.Request { return newRequest("POST", chatPath, strings.NewReader(`{"messages":[}`)) }, 400, "invalid_json"},
		{"duplicate key", nil, func() *http.Request {
			return newRequest("POST", chatPath, strings.NewReader(`{"messages":[],"messages":[]}`))
		}, 400, "duplicate_key"},
		{"too deep", nil, func() *http.Request {
			return newRequest("POST", chatPath, strings.NewReader(`{"messages":`+strings.Repeat("[", 600)+strings.Repeat("]", 600)+`}`))
		}, 400, "too_deep"},
		{"broken off", nil, func() *http.Request {
			r := newRequest("POST", chatPath, io.MultiReader(strings.NewReader(`{"messages"`), errReader{io.ErrUnexpectedEOF}))
			r.ContentLength = 100
			return r
		}, 400, "incomplete"},
		{"limited by others", nil, func() *http.Request {
			r := postChat(strings.Repeat("x", 5000))
			r.Body = http.MaxBytesReader(nil, r.Body, 100)
			return r
		}, 413, "too_large"},
	}
	for _, c := range cases {
		for _, path := range []string{chatPath, "/v1/messages"} {
			t.Run(c.name+path, func(t *testing.T) {
				h := newHandler(t)
				if c.configure != nil {
					c.configure(h)
				}
				before := counted(t, "caddy_pii_janitor_refused_total", c.code)
				r := c.request()
				r.URL.Path = path
				w, e := serve(t, h, r)
				if w.Code != c.status || e.called {
					t.Fatalf("status %d, want %d, forwarded %t: %s", w.Code, c.status, e.called, w.Body)
				}
				wantErrorBody(t, w, path, "john")
				if path == chatPath && !strings.Contains(w.Body.String(), `"code":"`+c.code+`"`) {
					t.Errorf("code not %s: %s", c.code, w.Body)
				}
				if got := w.Header().Get("Retry-After"); (got != "") != (c.code == "no_room") {
					t.Errorf("Retry-After %q", got)
				}
				if counted(t, "caddy_pii_janitor_refused_total", c.code) != before+1 {
					t.Error("not counted")
				}
			})
		}
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

// Errors of the handlers behind are passed on, and all memory is given back.
func TestErrorOfNext(t *testing.T) {
	h := newHandler(t)
	want := caddyhttp.Error(502, io.ErrClosedPipe)
	e := &engine{answer: func(http.ResponseWriter, *http.Request) error { return want }}
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, postChat(mail), e); err != error(want) {
		t.Errorf("error %v", err)
	}
	if w.Body.Len() > 0 || w.Code != 200 {
		t.Errorf("something was written: %d %s", w.Code, w.Body)
	}
	if !bytes.Contains(e.body, []byte("[EMAIL_1]")) {
		t.Errorf("forwarded %s", e.body)
	}
}
