// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/admission"
)

// rendition returns all that Render yields, with the message of every chunk.
func rendition(render func(func(int32, []byte) bool)) (out []byte) {
	render(func(message int32, chunk []byte) bool {
		out = append(append(out, byte(message)), chunk...)
		return true
	})
	return out
}

// retain calls Retain, which must succeed.
func retain(t testing.TB, x *Exchange) *Retained {
	t.Helper()
	r, ok := x.Retain()
	if !ok {
		t.Fatal("nothing retained")
	}
	return r
}

// A Retained has the body that the engine gets and the rendition that is signed,
// however the request ends, and counts until it is released.
func TestRetain(t *testing.T) {
	text := "write to " + mail + strings.Repeat(" and so on", 10_000)
	ends := map[string]func(w http.ResponseWriter, r *http.Request) error{
		"answered":        answerJSON(`{}`),
		"nothing written": func(http.ResponseWriter, *http.Request) error { return nil },
		"error":           func(http.ResponseWriter, *http.Request) error { return errors.New("failure") },
		"panic":           func(http.ResponseWriter, *http.Request) error { panic("bug") },
		"cut off": func(w http.ResponseWriter, r *http.Request) error {
			_ = answerJSON(`{"a":"[EMA`)(w, r)
			panic(http.ErrAbortHandler)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			h := newHandler(t)
			e := new(engine)
			var kept *Retained
			var want []byte
			e.answer = func(w http.ResponseWriter, r *http.Request) error {
				e.exchange.AskUsage()
				e.exchange.Salt("salt")
				want = rendition(e.exchange.doc.Render)
				kept = retain(t, e.exchange)
				return end(w, r)
			}
			func() {
				defer func() { _ = recover() }()
				_ = h.ServeHTTP(httptest.NewRecorder(), postChat(text), e)
			}()
			if used := h.queue.Used(); used < int64(cap(kept.Body())) || used > int64(cap(kept.Body()))+10_000 {
				t.Errorf("%d bytes counted for a body of %d", used, cap(kept.Body()))
			}
			if kept.API().String() != "chat" || kept.Model() != "m" || kept.Salt() != "salt" {
				t.Errorf("retained %v %q %q", kept.API(), kept.Model(), kept.Salt())
			}
			if !bytes.Equal(kept.Body(), e.body) || bytes.Contains(kept.Body(), []byte(mail)) {
				t.Errorf("retained %.60q, the engine got %.60q", kept.Body(), e.body)
			}
			if got := rendition(kept.Render); len(got) < len(text)/2 || !bytes.Equal(got, want) {
				t.Error("the rendition is not what was signed")
			}
			for range 2 {
				kept.Release()
				if kept.Body() != nil || len(rendition(kept.Render)) > 0 {
					t.Error("something is left after Release")
				}
				wantEmpty(t, h.queue)
			}
			if _, ok := e.exchange.Retain(); ok {
				t.Error("retained after the end")
			}
		})
	}
}

// A Release during the request changes nothing for the request.
func TestRetainEarlyRelease(t *testing.T) {
	h := newHandler(t)
	e := new(engine)
	e.answer = func(w http.ResponseWriter, r *http.Request) error {
		before := h.queue.Used()
		for range 3 {
			one, two := retain(t, e.exchange), retain(t, e.exchange)
			one.Release()
			if two.Body() == nil || h.queue.Stats().Retained == 0 {
				t.Error("one release took both")
			}
			two.Release()
		}
		if used := h.queue.Used(); used < before || h.queue.Stats().Retained != 0 {
			t.Errorf("%d bytes counted, before %d; %d retained", used, before, h.queue.Stats().Retained)
		}
		if !e.exchange.Attach(r) || readAttached(t, r) != chat("hi [EMAIL_1]") {
			t.Error("the body is gone")
		}
		return nil
	}
	serveTo(t, h, postChat("hi "+mail), e)
}

// A request is not retained if it is not signed, or if the engine gets another
// prompt than the signed one.
func TestRetainRefused(t *testing.T) {
	cases := []struct {
		name, path, body, mode string
		ok                     bool
	}{
		{"chat", chatPath, chat("hi"), "placeholder", true},
		{"chat with a finding", chatPath, chat(mail), "redact", true},
		{"detect, clean", chatPath, chat("hi"), "detect", true},
		{"detect", chatPath, chat(mail), "detect", false},
		{"detect, outside the prompt", chatPath, `{"user":"` + mail + `",` + chat("hi")[1:], "detect", false},
		{"embeddings", "/v1/embeddings", `{"input":"x"}`, "placeholder", false},
		{"several prompts", "/v1/completions", `{"prompt":["a","b"]}`, "placeholder", false},
		{"other JSON", "/other", `{"a":"b"}`, "placeholder", false},
		{"no body", "/v1/models", "", "placeholder", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHandler(t, func(h *Handler) { h.Mode = c.mode })
			e := new(engine)
			e.answer = func(w http.ResponseWriter, _ *http.Request) error {
				r, ok := e.exchange.Retain()
				if ok != c.ok {
					t.Errorf("retained: %t", ok)
				}
				if ok {
					r.Release()
				}
				w.WriteHeader(200)
				if _, ok := e.exchange.Retain(); ok {
					t.Error("retained after the header")
				}
				return nil
			}
			serveTo(t, h, newRequest("POST", c.path, strings.NewReader(c.body)), e)
		})
	}
}

// The salt is the one that was set, else the client's.
func TestRetainedSalt(t *testing.T) {
	for _, c := range []struct{ body, set, want string }{
		{`{"messages":[]}`, "", ""},
		{`{"messages":[]}`, "ours", "ours"},
		{`{"messages":[],"cache_salt":"m\u0069ne"}`, "", "mine"},
		{`{"messages":[],"cache_salt":"mine"}`, "ours", "ours"},
		{`{"messages":[],"cache_salt":null}`, "", ""},
		{`{"messages":[],"cache_salt":7}`, "", ""},
		{`{"messages":[],"cache_salt":"` + strings.Repeat("x", 7000) + `"}`, "", ""},
	} {
		h := newHandler(t)
		e := new(engine)
		e.answer = func(http.ResponseWriter, *http.Request) error {
			if c.set != "" {
				e.exchange.Salt(c.set)
			}
			body := strings.Replace(c.body, `[]`, `[{"role":"user","content":"x"}]`, 1)
			r := retain(t, e.exchange)
			defer r.Release()
			if r.Salt() != c.want || string(r.Body()) != body {
				t.Errorf("%.60s: salt %q, want %q; body %.60s", c.body, r.Salt(), c.want, r.Body())
			}
			return nil
		}
		serveTo(t, h, newRequest("POST", chatPath, strings.NewReader(strings.Replace(c.body, `[]`, `[{"role":"user","content":"x"}]`, 1))), e)
	}
}

// Retained bodies fill no more than their share.
func TestRetainedShare(t *testing.T) {
	h := newHandler(t, func(h *Handler) { h.InFlightLimit = 4_000_000 })
	var kept []*Retained
	refused := 0
	for range 20 {
		e := new(engine)
		e.answer = func(http.ResponseWriter, *http.Request) error {
			if r, ok := e.exchange.Retain(); ok {
				kept = append(kept, r)
			} else {
				refused++
			}
			return nil
		}
		serveTo(t, h, postChat(strings.Repeat("and so on ", 10_000)), e)
	}
	if used := h.queue.Used(); len(kept) < 2 || refused == 0 || used > h.InFlightLimit/admission.RetainShare || used != h.queue.Stats().Retained {
		t.Errorf("%d retained, %d refused, %d bytes used, %d of them retained", len(kept), refused, used, h.queue.Stats().Retained)
	}
	for _, r := range kept {
		r.Release()
	}
	if h.queue.Stats().Retained != 0 {
		t.Errorf("%d bytes still count as retained", h.queue.Stats().Retained)
	}
}

// Other goroutines can render and release at any moment while the request signs
// and ends.
func TestRetainedElsewhere(t *testing.T) {
	h := newHandler(t)
	var beside sync.WaitGroup
	for i := range 200 {
		rnd := rand.New(rand.NewPCG(3, uint64(i)))
		e := new(engine)
		e.answer = func(w http.ResponseWriter, r *http.Request) error {
			want := rendition(e.exchange.doc.Render)
			for range 1 + rnd.IntN(3) {
				kept, early := retain(t, e.exchange), rnd.IntN(2) == 0
				beside.Go(func() {
					if got := rendition(kept.Render); len(got) > 0 && !bytes.Equal(got, want) {
						t.Error("the rendition is another one")
					}
					kept.Release()
				})
				if early {
					beside.Go(kept.Release)
				}
			}
			if _, ok := e.exchange.Sign([]byte("k"), "m", "", 64, 0); !ok {
				t.Error("not signed")
			}
			return answerJSON(`{}`)(w, r)
		}
		serveTo(t, h, postChat(`a "quoted" text `+mail+strings.Repeat(` and "so" on`, rnd.IntN(2000))), e)
	}
	beside.Wait()
	if h.queue.Stats().Retained != 0 {
		t.Errorf("%d bytes still count as retained", h.queue.Stats().Retained)
	}
}
