// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

func TestWarmBody(t *testing.T) {
	for _, c := range []struct {
		name, body, salt, want string
		api                    prompt.API
	}{
		{name: "chat", api: prompt.Chat,
			body: `{"model":"m","messages":[{"role":"user","content":"a\u003cb"}],"tools":[{"x":1.50}],"stream":true,"stream_options":{"include_usage":true},"n":3,"max_completion_tokens":100,"min_tokens":50,"cache_salt":"mine","response_format":{"type":"json_object"},"chat_template_kwargs":{"a":1}}`,
			want: `{"chat_template_kwargs":{"a":1},"max_tokens":1,"messages":[{"role":"user","content":"a\u003cb"}],"model":"m","tools":[{"x":1.50}]}`},
		{name: "salt", api: prompt.Completions, salt: `a"b`, body: `{"model":"m","prompt":"p","max_tokens":9,"best_of":2,"echo":true}`,
			want: `{"cache_salt":"a\"b","max_tokens":1,"model":"m","prompt":"p"}`},
		{name: "responses", api: prompt.Responses, body: `{"model":"m","input":"i","max_output_tokens":9,"store":true,"background":true}`,
			want: `{"input":"i","max_output_tokens":1,"model":"m","store":false}`},
		{name: "messages", api: prompt.Messages, body: `{"model":"m","max_tokens":9,"messages":[],"stream":true}`,
			want: `{"max_tokens":1,"messages":[],"model":"m"}`},
	} {
		got, err := warmBody(c.api, []byte(c.body), c.salt)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
	for name, body := range map[string]string{"none": "", "null": "null", "a list": "[1]", "broken": `{"a":`} {
		if _, err := warmBody(prompt.Chat, []byte(body), ""); err == nil {
			t.Errorf("%s: a request was made", name)
		}
	}
	if _, err := warmBody(prompt.Embeddings, []byte(`{"input":"x"}`), ""); err == nil {
		t.Error("a one-token request for embeddings")
	}
}

// TestWarmBodyIsWiped: the body is wiped when the request is over, even if net/http
// goes on to read it.
func TestWarmBodyIsWiped(t *testing.T) {
	asked := []byte(`{"model":"m","prompt":"` + strings.Repeat("secret ", 1000) + `"}`)
	raw, err := warmBody(prompt.Completions, asked, "")
	if err != nil {
		t.Fatal(err)
	}
	want := string(raw)
	b := &wipedBody{data: raw}
	begin := make([]byte, 100)
	if _, err := io.ReadFull(b, begin); err != nil || string(begin) != want[:100] {
		t.Fatalf("%q, %v", begin, err)
	}
	if rest, err := io.ReadAll(b); err != nil || string(rest) != want[100:] {
		t.Fatalf("%d bytes more, %v", len(rest), err)
	}
	b.wipe()
	if !bytes.Equal(raw, make([]byte, len(raw))) {
		t.Error("the body is not wiped")
	}
	if n, err := b.Read(begin); n != 0 || err != io.ErrClosedPipe {
		t.Errorf("%d bytes are read from a wiped body, %v", n, err)
	}
	b.wipe()
}
