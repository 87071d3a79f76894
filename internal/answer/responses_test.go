// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

var longestID = strings.Repeat("r", prompt.MaxResponseID)

func TestResponseIDOfAStream(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []string
		want   []string
	}{
		{"created", []string{
			`{"type":"response.created","response":{"output":[{"id":"msg_1"}],"id":"resp_1","object":"response"}}`,
			`{"type":"response.in_progress","response":{"id":"resp_2","object":"response"}}`,
			`{"type":"response.completed","response":{"id":"resp_3","output":[]}}`,
		}, []string{"resp_1"}},
		{"named at the end only", []string{
			`{"type":"response.created","response":{"status":"in_progress"}}`,
			`{"type":"response.completed","response":{"id":"resp_3","output":[]}}`,
		}, []string{"resp_3"}},
		{"the longest", []string{`{"type":"response.created","response":{"id":"` + longestID + `"}}`}, []string{longestID}},
		{"too long", []string{`{"type":"response.created","response":{"id":"` + longestID + `r"}}`}, nil},
		{"empty", []string{`{"type":"response.created","response":{"id":""}}`}, nil},
		{"escaped", []string{`{"type":"response.created","response":{"id":"resp\u005f1"}}`}, nil},
		{"of another type", []string{`{"type":"response.created","response":{"id":7}}`}, nil},
		{"no object", []string{`{"type":"response.created","response":7,"id":"resp_1"}`}, nil},
		{"an item", []string{`{"type":"response.output_item.added","item":{"id":"msg_1","type":"message"}}`}, nil},
		{"a chat", []string{`{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[]}`, `[DONE]`}, nil},
	} {
		for _, p := range []Placeholders{nil, newVault("[EMAIL_1]", "x")} {
			w := &watcher{t: t}
			if got := through(t, p, w, sse(c.events...)); !bytes.Equal(got, sse(c.events...)) {
				t.Errorf("%s: the stream was changed", c.name)
			}
			if !slices.Equal(w.responses, c.want) {
				t.Errorf("%s: told %.20q, want %.20q", c.name, w.responses, c.want)
			}
		}
	}
}

func TestResponseIDOfABody(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"id first", `{"id":"resp_1","object":"response","output":[{"id":"msg_1","object":"response"}]}`, []string{"resp_1"}},
		{"id last", `{"output":[{"id":"msg_1"}],"object":"response","id":"resp_1"}`, []string{"resp_1"}},
		{"the longest", `{"id":"` + longestID + `","object":"response"}`, []string{longestID}},
		{"too long", `{"id":"` + longestID + `r","object":"response"}`, nil},
		{"empty", `{"id":"","object":"response"}`, nil},
		{"escaped", `{"id":"resp\u005f1","object":"response"}`, nil},
		{"of another type", `{"id":7,"object":"response"}`, nil},
		{"without an id", `{"object":"response"}`, nil},
		{"a chat", `{"id":"chatcmpl-1","object":"chat.completion","choices":[]}`, nil},
		{"a deleted response", `{"id":"resp_1","object":"response.deleted","deleted":true}`, nil},
		{"in an array", `[{"id":"resp_1","object":"response"}]`, nil},
		{"inside", `{"response":{"id":"resp_1","object":"response"}}`, nil},
		{"of two values", `{"id":"chatcmpl-1"} {"object":"response"}`, nil},
		{"not JSON behind it", `{"id":"resp_1","object":"response"}<`, []string{"resp_1"}},
	} {
		for _, p := range []Placeholders{nil, newVault("[EMAIL_1]", "x")} {
			for _, pieces := range [][][]byte{{[]byte(c.body)}, bytewise([]byte(c.body))} {
				var out bytes.Buffer
				w := &watcher{t: t}
				b := NewBody(&out, p, w)
				for _, piece := range pieces {
					if _, err := b.Write(piece); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(w.responses, c.want) { // before Close: the client has the answer
					t.Errorf("%s: told %.20q, want %.20q", c.name, w.responses, c.want)
				}
				if b.Close() != nil || out.String() != c.body {
					t.Errorf("%s: the body was changed", c.name)
				}
			}
		}
	}
}
