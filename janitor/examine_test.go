// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Examine shows the Exchange of a real request. It has ended, and its memory is
// given back (see newHandler), when Examine returns.
func TestExamine(t *testing.T) {
	h := newHandler(t)
	var shown *Exchange
	r := newRequest("POST", "/v1/chat/completions", strings.NewReader(chat("write to jane@example.com")))
	err := h.Examine(httptest.NewRecorder(), r, func(x *Exchange) {
		shown = x
		if x.Janitor() != h || x.Findings() != 1 || strings.Contains(string(x.Body()), "jane@") {
			t.Errorf("shown: janitor %v, %d findings, body %s", x.Janitor() == h, x.Findings(), x.Body())
		}
		if _, ok := x.Sign(testKey, "m", "", 64, 0); !ok {
			t.Error("no signature")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if shown == nil || !shown.ended || shown.Body() != nil || shown.Attach(r) {
		t.Fatal("the exchange has not ended")
	}
}

func TestExamineRefuses(t *testing.T) {
	h := newHandler(t)
	r := newRequest("POST", "/v1/chat/completions", strings.NewReader(`{"messages":"jane@example.com"}`))
	err := h.Examine(httptest.NewRecorder(), r, func(*Exchange) { t.Error("a refused request was shown") })
	var refused caddyhttp.HandlerError
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusBadRequest {
		t.Fatalf("error %v", err)
	}
	if strings.Contains(err.Error(), "jane") {
		t.Fatal("the error quotes the request")
	}
}

var testKey = []byte("0123456789abcdef")
