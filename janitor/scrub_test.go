// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// forwarded returns the body that reaches the engine.
func forwarded(t testing.TB, h *Handler, path, body string) string {
	t.Helper()
	w, e := serve(t, h, newRequest("POST", path, strings.NewReader(body)))
	if !e.called {
		t.Fatalf("refused with %d %s: %s", w.Code, w.Body, body)
	}
	return string(e.body)
}

// pieces of text: values, clean words, and placeholders that the client wrote.
func randomText(rnd *rand.Rand) string {
	words := []string{"alpha", "beta", "γ", `\"q\"`, `\u00e9`, "[EMAIL_2]", "[EMAIL_7]", "[SSN_1]", "[REDACTED]", "x\\ny", "john\\u0040example.org"}
	var b strings.Builder
	for range 1 + rnd.IntN(12) {
		switch rnd.IntN(4) {
		case 0:
			fmt.Fprintf(&b, "user%d@example.org ", rnd.IntN(8))
		case 1:
			fmt.Fprintf(&b, "ssn %s, ", []string{ssn, "219-09-9999", "457-55-5462"}[rnd.IntN(3)])
		default:
			b.WriteString(words[rnd.IntN(len(words))] + " ")
		}
	}
	return b.String()
}

// randomTurn returns a message: plain, in parts, or a tool call.
func randomTurn(rnd *rand.Rand, i int) string {
	role := []string{"user", "assistant"}[i%2]
	switch rnd.IntN(4) {
	case 0:
		return fmt.Sprintf(`{"content":[{"type":"text","text":"%s"},{"text":"%s","type":"text"}],"role":"%s"}`, randomText(rnd), randomText(rnd), role)
	case 1:
		arguments := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(`{"a":"` + randomText(rnd) + `"}`)
		return `{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"` + arguments + `"}}]}`
	}
	return fmt.Sprintf(`{"role":"%s","content":"%s"}`, role, randomText(rnd))
}

// Rules 1 and 2: the scrubbed turn N+1 has the scrubbed turn N as its exact
// prefix, even if tools come after the messages in the JSON, and if the history
// has placeholders in it.
func TestPrefixStability(t *testing.T) {
	for _, mode := range []string{"placeholder", "redact"} {
		for _, kind := range []string{"numbered", "keyed"} {
			h := newHandler(t, func(h *Handler) { h.Mode = mode })
			if kind == "keyed" {
				h.keys = keyApp{}
			}
			for seed := range uint64(40) {
				rnd := rand.New(rand.NewPCG(seed, 9))
				var turns []string
				tools := `],"tools":[{"type":"function","function":{"name":"f","description":"` + randomText(rnd) + `"}}]}`
				last, lastTools := "", ""
				for i := range 8 {
					turns = append(turns, randomTurn(rnd, i))
					got := forwarded(t, h, chatPath, `{"messages":[`+strings.Join(turns, ",")+tools)
					messages, rest, _ := strings.Cut(got, `],"tools":`)
					if !strings.HasPrefix(messages, last) {
						t.Fatalf("%s %s, seed %d, turn %d:\n%s\nis no prefix of\n%s", mode, kind, seed, i, last, messages)
					}
					if i > 0 && rest != lastTools {
						t.Fatalf("%s %s, seed %d, turn %d: the tools changed to %s", mode, kind, seed, i, rest)
					}
					last, lastTools = messages, rest
				}
			}
		}
	}
}

// Values are numbered in the order of the prompt, wherever they are in the JSON.
func TestRenderOrder(t *testing.T) {
	h := newHandler(t)
	body := `{"user":"user6@example.org","messages":[{"role":"user","content":"user3@example.org"},{"role":"assistant","content":"user4@example.org"}],` +
		`"tools":[{"type":"function","function":{"name":"f","description":"user1@example.org"}}],"metadata":{"m":"user3@example.org"}}`
	want := `{"user":"[EMAIL_4]","messages":[{"role":"user","content":"[EMAIL_2]"},{"role":"assistant","content":"[EMAIL_3]"}],` +
		`"tools":[{"type":"function","function":{"name":"f","description":"[EMAIL_1]"}}],"metadata":{"m":"[EMAIL_2]"}}`
	if got := forwarded(t, h, chatPath, body); got != want {
		t.Errorf("forwarded %s, want %s", got, want)
	}
}

// Rule 3: the result for a text does not depend on the others of the batch.
func TestIndependentItems(t *testing.T) {
	h := newHandler(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, 20)
	for i := range texts {
		texts[i] = `"` + randomText(rnd) + `"`
	}
	alone := make([]string, len(texts))
	for i, text := range texts {
		alone[i] = strings.TrimSuffix(strings.TrimPrefix(forwarded(t, h, "/v1/embeddings", `{"input":[`+text+`]}`), `{"input":[`), `]}`)
	}
	together := forwarded(t, h, "/v1/embeddings", `{"input":[`+strings.Join(texts, ",")+`]}`)
	if want := `{"input":[` + strings.Join(alone, ",") + `]}`; together != want {
		t.Errorf("together\n%s, alone\n%s", together, want)
	}
}

// Rule 6: every goroutine and every instance of the handler scrubs to the same
// bytes.
func TestSameEverywhere(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	var turns []string
	for i := range 30 {
		turns = append(turns, randomTurn(rnd, i))
	}
	body := `{"messages":[` + strings.Join(turns, ",") + `]}`
	want := forwarded(t, newHandler(t), chatPath, body)
	var wg sync.WaitGroup
	for range 8 {
		h := newHandler(t)
		wg.Go(func() {
			for range 20 {
				if got := forwarded(t, h, chatPath, body); got != want {
					t.Errorf("forwarded %s, want %s", got, want)
				}
			}
		})
	}
	wg.Wait()
}

// Rule 6: scrubbing a scrubbed request changes nothing.
func TestIdempotent(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	for _, mode := range []string{"placeholder", "redact"} {
		h := newHandler(t, func(h *Handler) { h.Mode = mode })
		for i := range 100 {
			body := `{"messages":[` + randomTurn(rnd, i) + `,` + randomTurn(rnd, i+1) + `]}`
			once := forwarded(t, h, chatPath, body)
			if twice := forwarded(t, h, chatPath, once); twice != once {
				t.Fatalf("%s\n%s, then\n%s", mode, once, twice)
			}
		}
	}
}

// FuzzScrub checks for any texts that the forwarded body parses, that a second
// pass finds nothing in it, and that the client gets its own text back from an
// engine that repeats the prompt.
func FuzzScrub(f *testing.F) {
	for _, s := range []string{mail, "a\x00b", `"{\"a\":\"` + mail + `\"}"`, "(EMAIL_1) " + mail, ssn + mail, "4539 1488 0343 6467", "é\\u0040" + mail, "4539 1488 "} {
		f.Add(s, mail2)
		f.Add("x", s)
		f.Add(s, "0343 6467")
	}
	h := newHandler(f)
	h.restorable = all
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = strings.ToValidUTF8(a, "?"), strings.ToValidUTF8(b, "?")
		body := `{"messages":[{"role":"user","content":[{"type":"text","text":` + mustJSON(a) + `},{"type":"text","text":` + mustJSON(b) + `}]},` +
			`{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":` + mustJSON(mustJSON(map[string]string{"k": b})) + `}}]}],` +
			`"metadata":{"x":` + mustJSON(b+" "+a) + `}}`
		e := new(engine)
		e.answer = func(w http.ResponseWriter, r *http.Request) error { return answerJSON(string(e.body))(w, r) }
		w := serveTo(t, h, newRequest("POST", chatPath, strings.NewReader(body)), e)
		if !e.called {
			t.Fatalf("refused with %d %s", w.Code, w.Body)
		}
		if e.exchange.findings == 0 && string(e.body) != body {
			t.Fatalf("a clean body was changed to %s", e.body)
		}
		scrubbedTwiceIsTheSame(t, chatPath, e.body)
		if got, want := said(t, w.Body.Bytes()), said(t, []byte(body)); got != want && !strings.Contains(a+b, "[") {
			t.Fatalf("came back as\n%q, sent\n%q, engine got\n%s", got, want, e.body)
		}
	})
}

// said returns the text of a request, with the parts of a message joined.
func said(t testing.TB, body []byte) string {
	t.Helper()
	var v struct {
		Messages []struct {
			Content []struct{ Text string }
			Calls   []struct{ Function struct{ Arguments string } } `json:"tool_calls"`
		}
		Metadata map[string]string
	}
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("does not parse: %v\n%s", err, body)
	}
	arguments := make(map[string]string)
	if err := json.Unmarshal([]byte(v.Messages[1].Calls[0].Function.Arguments), &arguments); err != nil {
		t.Fatalf("arguments do not parse: %v\n%s", err, body)
	}
	return v.Messages[0].Content[0].Text + v.Messages[0].Content[1].Text + "|" + arguments["k"] + "|" + v.Metadata["x"]
}

// BenchmarkHandler measures a request of one MiB from its first byte to the next
// handler, including the signature.
func BenchmarkHandler(b *testing.B) {
	prose := strings.Repeat("The quick brown fox jumps over the lazy dog, and then it writes a long letter about it. ", 1<<20/88)
	dirty := strings.Repeat(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 40)+mail+". ", 1<<20/1822)
	for name, text := range map[string]string{"clean": prose, "one percent": dirty} {
		b.Run(name, func(b *testing.B) {
			h := newHandler(b)
			body := []byte(chat(text))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			e := &benchEngine{}
			for b.Loop() {
				r := newRequest("POST", chatPath, bytes.NewReader(body))
				if err := h.ServeHTTP(&goneWriter{header: make(map[string][]string)}, r, e); err != nil {
					b.Fatal(err)
				}
			}
			if !e.signed {
				b.Fatal("not signed")
			}
		})
	}
}
