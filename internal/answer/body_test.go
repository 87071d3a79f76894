// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// throughBody writes an answer to a Body in pieces and returns the output.
func throughBody(t testing.TB, p Placeholders, o Observer, pieces ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	b := NewBody(&out, p, o)
	for _, piece := range pieces {
		own := bytes.Clone(piece)
		if n, err := b.Write(own); n != len(piece) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
		clear(own)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// restoreTree is the slow model of restoring a JSON value.
func restoreTree(v *vault, value any, name string, free bool) any {
	machines := []string{"type", "id", "model", "role", "object", "finish_reason", "stop_reason", "status", "signature", "call_id"}
	below := free || slices.Contains([]string{"input", "arguments", "partial_json", "metadata", "parameters"}, name)
	switch value := value.(type) {
	case string:
		if !free && slices.Contains(machines, name) {
			return value
		}
		return v.replace(value, !free && (name == "arguments" || name == "partial_json"))
	case map[string]any:
		for k, m := range value {
			value[k] = restoreTree(v, m, k, below)
		}
	case []any:
		element := name
		if name == "arguments" || name == "partial_json" {
			element = ""
		}
		for i, e := range value {
			value[i] = restoreTree(v, e, element, below)
		}
	}
	return value
}

// randomJSON writes a value of the given depth with odd but valid spelling.
func randomJSON(rng *rand.Rand, depth int, quote func(*rand.Rand, string) string) string {
	names := []string{"type", "id", "model", "role", "status", "input", "arguments", "metadata", "content", "choices",
		"message", "usage", "output", "text", "[EMAIL_1]", "partial_json", "finish_reason", "a name that is longer than any that means something"}
	space := func() string { return strings.Repeat(" ", rng.IntN(2)) + strings.Repeat("\n\t", rng.IntN(2)) }
	if depth == 0 || rng.IntN(4) == 0 {
		switch rng.IntN(4) {
		case 0:
			return []string{"null", "true", "-12345678901234567890.1e-5", "{}", "[]", "[ ]"}[rng.IntN(6)]
		default:
			return quote(rng, randomText(rng, false))
		}
	}
	var b strings.Builder
	object := rng.IntN(3) > 0
	b.WriteString(map[bool]string{true: "{", false: "["}[object])
	used := map[string]bool{}
	for i := range rng.IntN(5) {
		name := names[rng.IntN(len(names))]
		if object && used[name] {
			continue
		}
		if i > 0 {
			b.WriteString(space() + ",")
		}
		if used[name] = true; object {
			b.WriteString(space() + quote(rng, name) + space() + ":")
		}
		b.WriteString(space() + randomJSON(rng, depth-1, quote) + space())
	}
	b.WriteString(map[bool]string{true: "}", false: "]"}[object])
	return b.String()
}

// randomBody returns an object or array. Its names have no escapes, which would
// hide their meaning.
func randomBody(rng *rand.Rand) string {
	spell := []func(*rand.Rand, string) string{quotePlain, quoteASCII}[rng.IntN(2)]
	for {
		if doc := randomJSON(rng, 5, spell); len(doc) > 20 && doc[0] != '"' && json.Valid([]byte(doc)) {
			return doc
		}
	}
}

func TestBodyGolden(t *testing.T) {
	t.Parallel()
	v := awkward()
	for seed := range seeds(1000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		in := []byte(randomBody(rng))
		var want, got any
		if err := json.Unmarshal(in, &want); err != nil {
			t.Fatal(err)
		}
		want = restoreTree(v, want, "", false)
		out := throughBody(t, v, nil, in)
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("seed %d: %v\n%s\n%s", seed, err, in, out)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d\nin:   %s\nout:  %s\nwant: %v", seed, in, out, want)
		}
		if other := throughBody(t, v, nil, bytewise(in)...); !bytes.Equal(out, other) {
			t.Fatalf("seed %d: byte by byte gives another answer\n%s\n%s", seed, out, other)
		}
	}
}

// Putting the placeholders back in place of the values gives the very input.
func TestBodyTouchesNothingElse(t *testing.T) {
	t.Parallel()
	v := newVault("[EMAIL_1]", "§one§", "[EMAIL_10]", "§ten§", "[NAME_1]", "§name§")
	back := strings.NewReplacer("§one§", "[EMAIL_1]", "§ten§", "[EMAIL_10]", "§name§", "[NAME_1]")
	for seed := range seeds(800) {
		in := randomBody(rand.New(rand.NewPCG(seed, 2)))
		if got := back.Replace(string(throughBody(t, v, nil, []byte(in)))); got != in {
			t.Fatalf("seed %d\n in: %s\nout: %s", seed, in, got)
		}
	}
}

// bodies are whole answers of each API with the reports to the observer.
var bodies = []struct {
	name, in, want string
	usage          *Usage
	finishes       []bool
}{
	{
		name:  "chat",
		in:    `{"id":"[EMAIL_1]","model":"[EMAIL_1]","choices":[{"index":0,"message":{"role":"assistant","content":"to [EMAIL_1]","reasoning_content":"[Q_1]?","[EMAIL_1]":1},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":16}}}`,
		want:  `{"id":"[EMAIL_1]","model":"[EMAIL_1]","choices":[{"index":0,"message":{"role":"assistant","content":"to a@b.org","reasoning_content":"\"\\\n?","[EMAIL_1]":1},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":16}}}`,
		usage: &Usage{PromptTokens: 20, CompletionTokens: 2, CachedTokens: 16, Cached: true}, finishes: []bool{false},
	},
	{
		name:  "chat with tools, details null",
		in:    `{"usage":{"prompt_tokens":20,"prompt_tokens_details":null},"choices":[{"finish_reason":"tool_calls","message":{"content":null,"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{\"q\":\"[Q_1]\"}"}}]}}]}`,
		want:  `{"usage":{"prompt_tokens":20,"prompt_tokens_details":null},"choices":[{"finish_reason":"tool_calls","message":{"content":null,"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{\"q\":\"\\\"\\\\\\n\"}"}}]}}]}`,
		usage: &Usage{PromptTokens: 20}, finishes: []bool{true},
	},
	{
		name:  "completions of llama.cpp",
		in:    `{"choices":[{"text":"[EMAIL_1]","index":0,"finish_reason":"length"}],"timings":{"cache_n":3,"prompt_n":4,"prompt_ms":2.5,"predicted_n":6}}`,
		want:  `{"choices":[{"text":"a@b.org","index":0,"finish_reason":"length"}],"timings":{"cache_n":3,"prompt_n":4,"prompt_ms":2.5,"predicted_n":6}}`,
		usage: &Usage{PromptTokens: 7, CompletionTokens: 6, CachedTokens: 3, Cached: true, PrefillTokens: 4, PrefillTime: 2500000}, finishes: []bool{false},
	},
	{
		name:  "responses",
		in:    `{"object":"response","status":"completed","instructions":"for [EMAIL_1]","output":[{"type":"message","content":[{"type":"output_text","text":"[EMAIL_1]"}]},{"type":"function_call","arguments":"{\"q\":\"[Q_1]\"}"}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87}}`,
		want:  `{"object":"response","status":"completed","instructions":"for a@b.org","output":[{"type":"message","content":[{"type":"output_text","text":"a@b.org"}]},{"type":"function_call","arguments":"{\"q\":\"\\\"\\\\\\n\"}"}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87}}`,
		usage: &Usage{PromptTokens: 36, CompletionTokens: 87, Cached: true}, finishes: []bool{true},
	},
	{
		name:  "anthropic",
		in:    `{"type":"message","content":[{"type":"text","text":"[EMAIL_1]"},{"type":"tool_use","id":"t","name":"f","input":{"type":"[EMAIL_1]","arguments":"[Q_1]"}}],"stop_reason":"tool_use","usage":{"input_tokens":4,"cache_read_input_tokens":96,"cache_creation_input_tokens":0,"output_tokens":5}}`,
		want:  `{"type":"message","content":[{"type":"text","text":"a@b.org"},{"type":"tool_use","id":"t","name":"f","input":{"type":"a@b.org","arguments":"\"\\\n"}}],"stop_reason":"tool_use","usage":{"input_tokens":4,"cache_read_input_tokens":96,"cache_creation_input_tokens":0,"output_tokens":5}}`,
		usage: &Usage{PromptTokens: 100, CompletionTokens: 5, CachedTokens: 96, Cached: true}, finishes: []bool{true},
	},
	{
		name: "an error that quotes the prompt",
		in:   `{"error":{"message":"cannot read [EMAIL_1]","code":400}}`,
		want: `{"error":{"message":"cannot read a@b.org","code":400}}`,
	},
	{
		name: "usage and reasons in other places mean nothing",
		in:   `{"a":{"usage":{"prompt_tokens":1},"finish_reason":"stop"},"choices":{"finish_reason":"stop"},"usage":[{"prompt_tokens":1}],"message":{"stop_reason":"x"}}`,
		want: `{"a":{"usage":{"prompt_tokens":1},"finish_reason":"stop"},"choices":{"finish_reason":"stop"},"usage":[{"prompt_tokens":1}],"message":{"stop_reason":"x"}}`,
	},
	{
		name: "one value a line",
		in:   "{\"a\":\"[EMAIL_1]\"}\n{\"a\":\"[EMAIL_1]\"}\n",
		want: "{\"a\":\"a@b.org\"}\n{\"a\":\"a@b.org\"}\n",
	},
}

func TestBodies(t *testing.T) {
	v := newVault("[EMAIL_1]", "a@b.org", "[Q_1]", "\"\\\n")
	for _, c := range bodies {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range []*vault{v, nil} {
				want := c.in
				var placeholders Placeholders
				if p != nil {
					want, placeholders = c.want, p
				}
				w := &watcher{t: t}
				if got := string(throughBody(t, placeholders, w, []byte(c.in))); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				w.check(t, 0, c.usage, c.finishes...)
				for i := range c.in {
					w := &watcher{t: t}
					if got := string(throughBody(t, placeholders, w, []byte(c.in[:i]), []byte(c.in[i:]))); got != want {
						t.Fatalf("cut at %d: got\n%s\nwant\n%s", i, got, want)
					}
					w.check(t, 0, c.usage, c.finishes...)
				}
			}
		})
	}
}

// From the first error in the JSON on, a body passes as it is, with beginnings that
// were held back and broken escapes.
func TestBodyBroken(t *testing.T) {
	v := newVault("[EMAIL_1]", "a@b.org")
	deep := strings.Repeat(`[`, maxDepth+10)
	for _, c := range [][2]string{
		{`plain [EMAIL_1]`, `plain [EMAIL_1]`},
		{`"[EMAIL_1]"`, `"[EMAIL_1]"`},
		{`{"a":"[EMAIL_1]"]{"a":"[EMAIL_1]"}`, `{"a":"a@b.org"]{"a":"[EMAIL_1]"}`},
		{`{"a":"[EMAIL_1`, `{"a":"[EMAIL_1`},
		{`{"a":"[EMAIL_1\u00`, `{"a":"[EMAIL_1\u00`},
		{`{"a":"[EMAIL_1\u00zz]","b":"[EMAIL_1]"}`, `{"a":"[EMAIL_1\u00zz]","b":"[EMAIL_1]"}`},
		{`{"a":"\x[EMAIL_1]"}`, `{"a":"\x[EMAIL_1]"}`},
		{"{\"a\":\"[EMAIL_1]\n[EMAIL_1]\"}", "{\"a\":\"a@b.org\n[EMAIL_1]\"}"},
		{`{}}{"a":"[EMAIL_1]"}`, `{}}{"a":"[EMAIL_1]"}`},
		{deep + `"[EMAIL_1]`, deep + `"[EMAIL_1]`},
		{"\xEF\xBB\xBF" + `{"a":"[EMAIL_1]"}`, "\xEF\xBB\xBF" + `{"a":"[EMAIL_1]"}`},
	} {
		w := &watcher{t: t}
		if got := string(throughBody(t, v, w, []byte(c[0]))); got != c[1] {
			t.Errorf("%.40q gives\n%.80q want\n%.80q", c[0], got, c[1])
		}
		if got := string(throughBody(t, v, nil, bytewise([]byte(c[0]))...)); got != c[1] {
			t.Errorf("%.40q byte by byte gives %.80q", c[0], got)
		}
		w.check(t, 0, nil)
	}
}

// An answer that breaks off is not complete.
func TestBodyBrokenOff(t *testing.T) {
	w := &watcher{t: t}
	throughBody(t, nil, w, []byte(`{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3},"x":[`))
	w.check(t, 0, &Usage{PromptTokens: 3})
}

// A usage object of any size takes little memory.
func TestBodyCountsBound(t *testing.T) {
	w := &watcher{t: t}
	var out bytes.Buffer
	b := NewBody(&out, nil, w)
	fmt.Fprintf(b, `{"usage":{"prompt_tokens":3,"x":%q}`, strings.Repeat("y", 100<<10))
	if cap(b.counts) > 2*maxCounts {
		t.Errorf("%d bytes kept", cap(b.counts))
	}
	fmt.Fprint(b, `,"choices":[{"finish_reason":"stop"}]}`)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	w.check(t, 0, nil, false)
}
