// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A refusal for overload is the answer: the observer does not see it, nothing can
// be sent to an engine any more, and what the proxy makes of it is no error.
func TestRefuseOverload(t *testing.T) {
	for _, c := range []struct {
		path, want string
	}{
		{"/v1/chat/completions", `{"error":{"message":"every engine is busy for longer than requests may wait at this gateway; try again later","type":"rate_limit_error","param":null,"code":"overload"}}`},
		{"/v1/messages", `{"type":"error","error":{"type":"rate_limit_error","message":"every engine is busy for longer than requests may wait at this gateway; try again later"}}`},
	} {
		for wait, seconds := range map[time.Duration]string{-time.Second: "1", 0: "1", time.Second: "1", time.Second + 1: "2", 90 * time.Second: "90"} {
			var o recorder
			e := new(engine)
			e.answer = func(w http.ResponseWriter, r *http.Request) error {
				e.exchange.Observe(&o)
				e.exchange.RefuseOverload(w, r, wait)
				e.exchange.RefuseOverload(w, r, wait) // Caddy asks again
				if e.exchange.Attach(r) {
					t.Error("the body can still be sent")
				}
				return errors.New("no upstream")
			}
			w := serveTo(t, newHandler(t), newRequest("POST", c.path, strings.NewReader(chat("to "+mail))), e)
			if got := strings.TrimSpace(w.Body.String()); got != c.want {
				t.Errorf("%s: answered %s", c.path, got)
			}
			if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != seconds || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s after %v: status %d, header %v", c.path, wait, w.Code, w.Header())
			}
			o.want(t, "end", ErrRefused)
		}
	}
}

// Once an answer has begun, it stands.
func TestRefuseOverloadTooLate(t *testing.T) {
	var o recorder
	e := new(engine)
	e.answer = func(w http.ResponseWriter, r *http.Request) error {
		e.exchange.Observe(&o)
		w.WriteHeader(http.StatusOK)
		e.exchange.RefuseOverload(w, r, time.Second)
		return nil
	}
	if w := serveTo(t, newHandler(t), postChat("hi"), e); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("status %d, body %q", w.Code, w.Body)
	}
	o.want(t, "header end", nil)
}

func TestPriority(t *testing.T) {
	for body, want := range map[string]int32{`{"priority":5,"messages":[]}`: 5, chat("hi"): 0} {
		_, e := serve(t, newHandler(t), newRequest("POST", chatPath, strings.NewReader(body)))
		if got := e.exchange.Priority(); got != want || string(e.body) != body {
			t.Errorf("%s: priority %d, forwarded %s", body, got, e.body)
		}
	}
}
