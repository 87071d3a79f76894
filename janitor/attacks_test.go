// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// attack is a request that tries to get a value past the janitor.
type attack struct {
	Name        string            `json:"name"`
	Path        string            `json:"path"`
	ContentType string            `json:"content_type"`
	Headers     map[string]string `json:"headers"`
	Body        string            `json:"body_b64"`
	MustNot     []string          `json:"must_not_reach_upstream"`
	Expect      string            `json:"expect"`
}

// The collected attacks fail, if the file with them exists.
func TestAttacksFile(t *testing.T) {
	f, err := os.Open("../../shared/pii/attacks.jsonl")
	if err != nil {
		t.Skip("the collection of attacks is not here; TestAttacks has the most important ones")
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		var a attack
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		body, err := base64.StdEncoding.DecodeString(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		n++
		t.Run(a.Name, func(t *testing.T) { a.run(t, body) })
	}
	if n < 20 {
		t.Errorf("only %d attacks read", n)
	}
}

// Our own attacks fail.
func TestAttacks(t *testing.T) {
	const mustNot = mail
	uEscaped := strings.Builder{}
	for _, c := range mail {
		uEscaped.WriteString(`\u00` + string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]))
	}
	card := "4539148803436467"
	fullwidth := strings.Map(func(r rune) rune { return r - '0' + '０' }, card)
	user := func(raw string) string { return `{"messages":[{"role":"user","content":` + raw + `}]}` }
	cases := []struct {
		name, path, body, expect string
		mustNot                  string
	}{
		{"escaped letters", chatPath, user(`"` + uEscaped.String() + `"`), "redact", mustNot},
		{"escaped key", chatPath, `{"messages":[{"role":"user","c\u006fntent":"` + mail + `"}]}`, "redact", mustNot},
		{"duplicate key", chatPath, `{"messages":[{"role":"user","content":"` + mail + `","content":"x"}]}`, "4xx", mustNot},
		{"duplicate key, escaped", chatPath, `{"messages":[{"role":"user","content":"` + mail + `","\u0063ontent":"x"}]}`, "4xx", mustNot},
		{"byte order mark", chatPath, "\ufeff" + user(`"`+mail+`"`), "4xx", mustNot},
		{"byte order mark elsewhere", "/x", "\ufeff" + user(`"`+mail+`"`), "4xx", mustNot},
		{"trailing value", chatPath, user(`"x"`) + user(`"`+mail+`"`), "4xx", mustNot},
		{"NaN", chatPath, `{"temperature":NaN,"messages":[{"role":"user","content":"` + mail + `"}]}`, "4xx", mustNot},
		{"lone surrogate", chatPath, user(`"\ud800 ` + mail + `"`), "4xx", mustNot},
		{"bad UTF-8", chatPath, user("\"\xff " + mail + `"`), "4xx", mustNot},
		{"control character", chatPath, user("\"\x01 " + mail + `"`), "4xx", mustNot},
		{"tool arguments", chatPath, `{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"to\":\"` + mail + `\"}"}}]}]}`, "redact", mustNot},
		{"tool arguments, escaped twice", chatPath, `{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"to\":\"john.doe\\u0040example.org\"}"}}]}]}`, "redact", mustNot},
		{"tool description", chatPath, `{"messages":[],"tools":[{"type":"function","function":{"name":"f","description":"ask ` + mail + `"}}]}`, "redact", mustNot},
		{"unknown member", chatPath, `{"messages":[],"x_y":{"z":["` + mail + `"]}}`, "redact", mustNot},
		{"stop, user, metadata", chatPath, `{"messages":[],"stop":["` + mail + `"],"user":"` + mail + `","metadata":{"a":"` + mail + `"}}`, "redact", mustNot},
		{"tool result", "/v1/messages", `{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"` + mail + `"}]}]}`, "redact", mustNot},
		{"tool input", "/v1/messages", `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"to":"` + mail + `"}}]}]}`, "redact", mustNot},
		{"full-width card", chatPath, user(`"card ` + fullwidth + `"`), "redact", fullwidth},
		{"card over two parts", chatPath, user(`[{"type":"text","text":"card 4539 1488 "},{"type":"text","text":"0343 6467 ok"}]`), "redact", "6467"},
		{"card over three parts", chatPath, user(`[{"type":"text","text":"card 4539 "},{"type":"text","text":"1488 0343"},{"type":"text","text":" 6467 ok"}]`), "redact", "6467"},
		{"image by http", chatPath, user(`[{"type":"image_url","image_url":{"url":"https://x.example/?u=` + mail + `"}}]`), "redact", mustNot},
	}
	for _, c := range cases {
		a := attack{Name: c.name, Path: c.path, Expect: c.expect, MustNot: []string{c.mustNot}}
		t.Run(c.name, func(t *testing.T) { a.run(t, []byte(c.body)) })
	}
}

func (a *attack) run(t *testing.T, body []byte) {
	h := newHandler(t)
	r := newRequest("POST", a.Path, bytes.NewReader(body))
	r.Header.Set("Content-Type", a.ContentType)
	for k, v := range a.Headers {
		r.Header.Set(k, v)
	}
	w, e := serve(t, h, r)
	if !e.called {
		if w.Code < 400 || w.Code >= 500 {
			t.Fatalf("refused with %d", w.Code)
		}
		if a.Expect == "redact" {
			t.Fatalf("refused with %d %s, want it redacted", w.Code, w.Body)
		}
		for _, s := range a.MustNot {
			if strings.Contains(w.Body.String(), s) {
				t.Errorf("%q is in the error", s)
			}
		}
		return
	}
	if a.Expect == "4xx" {
		t.Fatalf("forwarded %q", e.body)
	}
	decoded := allStrings(t, e.body)
	for _, s := range a.MustNot {
		if bytes.Contains(e.body, []byte(s)) || bytes.Contains(decoded, []byte(s)) {
			t.Errorf("%q reached the engine: %s", s, e.body)
		}
	}
	scrubbedTwiceIsTheSame(t, a.Path, e.body)
}

// allStrings returns all strings of a JSON text, decoded, and the strings in those
// that hold JSON themselves.
func allStrings(t testing.TB, body []byte) []byte {
	t.Helper()
	var out []byte
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			out = append(append(out, v...), '\n')
			var inner any
			if json.Unmarshal([]byte(v), &inner) == nil {
				if _, ok := inner.(float64); !ok {
					walk(inner)
				}
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for k, e := range v {
				out = append(append(out, k...), '\n')
				walk(e)
			}
		}
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("what was forwarded does not parse: %v", err)
	}
	walk(v)
	return out
}

// scrubbedTwiceIsTheSame fails if a second janitor finds or changes anything.
func scrubbedTwiceIsTheSame(t testing.TB, path string, body []byte) {
	t.Helper()
	h := newHandler(t)
	w, e := serve(t, h, newRequest("POST", path, bytes.NewReader(body)))
	if !e.called {
		t.Errorf("the second pass refuses: %d %s", w.Code, w.Body)
	} else if !bytes.Equal(e.body, body) || e.exchange.findings != 0 {
		t.Errorf("the second pass has %d findings and forwards\n%s, not\n%s", e.exchange.findings, e.body, body)
	}
}

// A placeholder that the user wrote stays unchanged in the prompt and in the
// answer.
func TestNeverRestoredUnlessMinted(t *testing.T) {
	h := newHandler(t)
	e := &engine{answer: answerJSON(`{"choices":[{"message":{"content":"[EMAIL_1] [EMAIL_2] [EMAIL_3]"}}]}`)}
	w := serveTo(t, h, postChat("say [EMAIL_1] then "+mail), e)
	if string(e.body) != chat("say [EMAIL_1] then [EMAIL_2]") {
		t.Errorf("forwarded %s", e.body)
	}
	if want := `{"choices":[{"message":{"content":"[EMAIL_1] ` + mail + ` [EMAIL_3]"}}]}`; w.Body.String() != want {
		t.Errorf("answered %s, want %s", w.Body, want)
	}
}

// answerJSON answers like an engine.
func answerJSON(body string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, body)
		return err
	}
}
