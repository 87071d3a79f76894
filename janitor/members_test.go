// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"net/http"
	"strings"
	"testing"
)

func TestAskUsage(t *testing.T) {
	const messages = `"messages":[{"role":"user","content":"` + mail + `"}]`
	const scrubbed = `"messages":[{"role":"user","content":"[EMAIL_1]"}]`
	cases := []struct {
		name, path, body, want string
		ok                     bool
	}{
		{"not streamed", chatPath, `{` + messages + `}`, `{` + scrubbed + `}`, true},
		{"streamed", chatPath, `{"stream":true,` + messages + `}`, `{"stream_options":{"include_usage":true},"stream":true,` + scrubbed + `}`, true},
		{"options", chatPath, `{` + messages + `,"stream":true,"stream_options":{"x":1}}`,
			`{` + scrubbed + `,"stream":true,"stream_options":{"include_usage":true,"x":1}}`, true},
		{"empty options", chatPath, `{` + messages + `,"stream":true,"stream_options":{}}`,
			`{` + scrubbed + `,"stream":true,"stream_options":{"include_usage":true}}`, true},
		{"null options", chatPath, `{` + messages + `,"stream":true,"stream_options":null}`,
			`{` + scrubbed + `,"stream":true,"stream_options":{"include_usage":true}}`, true},
		{"odd options", chatPath, `{` + messages + `,"stream":true,"stream_options":1}`, `{` + scrubbed + `,"stream":true,"stream_options":1}`, false},
		{"asked for", chatPath, `{` + messages + `,"stream":true,"stream_options":{"include_usage":true}}`,
			`{` + scrubbed + `,"stream":true,"stream_options":{"include_usage":true}}`, true},
		{"declined", chatPath, `{` + messages + `,"stream":true,"stream_options":{"include_usage":false}}`,
			`{` + scrubbed + `,"stream":true,"stream_options":{"include_usage":true}}`, true},
		{"Anthropic", "/v1/messages", `{"stream":true,` + messages + `}`, `{"stream":true,` + scrubbed + `}`, true},
		{"embeddings", "/v1/embeddings", `{"input":"x"}`, `{"input":"x"}`, false},
	}
	for _, c := range cases {
		for _, mode := range []string{"placeholder", "detect"} {
			t.Run(c.name+" "+mode, func(t *testing.T) {
				h := newHandler(t, func(h *Handler) { h.Mode = mode })
				e := new(engine)
				e.answer = func(_ http.ResponseWriter, r *http.Request) error {
					for range 2 { // the second attempt asks again
						if got := e.exchange.AskUsage(); got != c.ok {
							t.Errorf("AskUsage: %t", got)
						}
						e.exchange.Attach(r)
					}
					want := c.want
					if mode == "detect" {
						want = strings.Replace(want, "[EMAIL_1]", mail, 1)
					}
					if got := readAttached(t, r); got != want {
						t.Errorf("body %s, want %s", got, want)
					}
					return nil
				}
				serveTo(t, h, newRequest("POST", c.path, strings.NewReader(c.body)), e)
			})
		}
	}
}

func TestSalt(t *testing.T) {
	cases := []struct{ body, salt, want string }{
		{`{"messages":[]}`, "ab_1-Z", `{"cache_salt":"ab_1-Z","messages":[]}`},
		{`{"messages":[],"cache_salt":"mine"}`, "ab", `{"messages":[],"cache_salt":"ab"}`},
		{`{"stream":true,"messages":[]}`, "ab", `{"stream_options":{"include_usage":true},"cache_salt":"ab","stream":true,"messages":[]}`},
		{`{"messages":[]}`, `a"b`, ""},
		{`{"messages":[]}`, ``, ""},
	}
	for _, c := range cases {
		h := newHandler(t)
		e := new(engine)
		e.answer = func(_ http.ResponseWriter, r *http.Request) error {
			e.exchange.AskUsage()
			if got := e.exchange.Salt(c.salt); got != (c.want != "") {
				t.Errorf("%s: Salt(%q) = %t", c.body, c.salt, got)
			}
			e.exchange.Attach(r)
			if got := readAttached(t, r); c.want != "" && got != c.want {
				t.Errorf("body %s, want %s", got, c.want)
			}
			return nil
		}
		serveTo(t, h, newRequest("POST", chatPath, strings.NewReader(c.body)), e)
	}
}
