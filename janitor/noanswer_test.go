// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The client gets an object of its API with the status that Caddy sends, unless that
// is no failure of the engines, an answer has begun, or error routes answer.
func TestNoAnswer(t *testing.T) {
	const (
		openAI    = `{"error":{"message":"no engine could answer (status 502)","type":"server_error","param":null,"code":"no_answer"}}`
		anthropic = `{"type":"error","error":{"type":"api_error","message":"no engine could answer (status 502)"}}`
	)
	plain := new(caddyhttp.Server)
	routed := &caddyhttp.Server{Errors: &caddyhttp.HTTPErrorConfig{Routes: caddyhttp.RouteList{{}}}}
	failed := caddyhttp.Error(http.StatusBadGateway, errors.New("no connection"))
	begin := func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte("{}"))
		return failed
	}
	for name, c := range map[string]struct {
		path   string
		server *caddyhttp.Server
		err    error
		answer func(w http.ResponseWriter, r *http.Request) error
		want   string
	}{
		"chat":             {chatPath, plain, failed, nil, openAI},
		"messages":         {"/v1/messages", plain, failed, nil, anthropic},
		"any error":        {chatPath, plain, errors.New("secret"), nil, strings.ReplaceAll(openAI, "502", "500")},
		"of the client":    {chatPath, plain, caddyhttp.Error(http.StatusNotFound, nil), nil, ""},
		"error routes":     {chatPath, routed, failed, nil, ""},
		"answer has begun": {chatPath, plain, failed, begin, "{}"},
	} {
		e := &engine{answer: c.answer}
		if e.answer == nil {
			e.answer = func(http.ResponseWriter, *http.Request) error { return c.err }
		}
		r := newRequest("POST", c.path, strings.NewReader(chat("hello")))
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, c.server))
		w := httptest.NewRecorder()
		if err := newHandler(t).ServeHTTP(w, r, e); err != c.err {
			t.Errorf("%s: error %v, Caddy has to log %v", name, err, c.err)
		}
		if got := strings.TrimSpace(w.Body.String()); got != c.want {
			t.Errorf("%s: the client got %s, want %s", name, got, c.want)
		}
	}
}
