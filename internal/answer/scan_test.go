// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

// The searches of eight bytes at once equal the simple ones, for every byte at every
// position beside bytes that cause carries.
func TestSpecial(t *testing.T) {
	plain := func(b []byte, i int, stop func(byte) bool) int {
		for ; i < len(b) && !stop(b[i]); i++ {
		}
		return i
	}
	inString := func(ch byte) bool { return ch == '"' || ch == '\\' || ch < 0x20 }
	eol := func(ch byte) bool { return ch == '\n' || ch == '\r' }
	rng := rand.New(rand.NewPCG(1, 1))
	alphabet := []byte("ax\"#!\\][\x00\x1f\x20\x80\xff\n\r\x0b\x0c\x0e")
	for n := range 40 {
		for range 300 {
			b := make([]byte, n)
			for i := range b {
				b[i] = alphabet[rng.IntN(min(len(alphabet), 2+rng.IntN(len(alphabet))))]
				if rng.IntN(20) == 0 {
					b[i] = byte(rng.IntN(256))
				}
			}
			for i := range n + 1 {
				if got, want := indexSpecial(b, i), plain(b, i, inString); got != want {
					t.Fatalf("indexSpecial(%q, %d) = %d, want %d", b, i, got, want)
				}
				if got, want := indexEither(b, i, '\n', '\r'), plain(b, i, eol); got != want {
					t.Fatalf("indexEither(%q, %d) = %d, want %d", b, i, got, want)
				}
			}
		}
	}
}

// cursorReads reports whether b is one value to the cursor, and returns its raw
// strings.
func cursorReads(b []byte) (ok bool, texts []string) {
	c := cursor{b: b}
	var walk func()
	walk = func() {
		switch c.peek() {
		case '"':
			texts = append(texts, string(c.bytes(c.text())))
		case '{':
			for ok := c.open('{', '}'); ok; ok = c.more('}') {
				texts = append(texts, string(c.bytes(c.key())))
				walk()
			}
		case '[':
			for ok := c.open('[', ']'); ok; ok = c.more(']') {
				walk()
			}
		default:
			c.skip()
		}
	}
	walk()
	c.peek()
	skipped := cursor{b: b}
	skipped.skip()
	skipped.peek()
	ok = !c.bad && c.i == len(b)
	if ok != (!skipped.bad && skipped.i == len(b)) {
		panic("skip and walk disagree")
	}
	return ok, texts
}

func TestCursorVerdicts(t *testing.T) {
	for _, good := range []string{
		`{}`, ` [ ] `, `""`, `0`, `-1.5e+3`, `null`, `{"a":{"b":[1,"x",{}]},"":""}`, `"\"\\\/\b\f\n\r\t\u00Ff"`,
		"\"\x7f\xff\"", `NaN`, `[-Infinity]`, strings.Repeat(`[`, maxDepth) + strings.Repeat(`]`, maxDepth),
	} {
		if ok, _ := cursorReads([]byte(good)); !ok {
			t.Errorf("%.40q is refused", good)
		}
	}
	for _, bad := range []string{
		``, ` `, `{`, `[`, `"`, `{]`, `[}`, `{}}`, `{} {}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[,]`, `{,}`, `{a:1}`, `[1 2]`,
		`{"a" 1}`, `{"a":1 "b":2}`, `"\x"`, `"\u12g4"`, `"\u123`, `"\`, "\"\n\"", "\"\x00\"", `'a'`, `[1;2]`,
		strings.Repeat(`[`, maxDepth+2) + strings.Repeat(`]`, maxDepth+2), strings.Repeat(`{"a":`, 1000000),
	} {
		if ok, _ := cursorReads([]byte(bad)); ok {
			t.Errorf("%.40q is accepted", bad)
		}
	}
}

// The cursor takes all that encoding/json takes, with the same strings.
func FuzzCursor(f *testing.F) {
	for _, c := range bodies {
		f.Add([]byte(c.in))
	}
	f.Add([]byte(`[NaN, {"a\u0062":"\ud800"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ok, texts := cursorReads(b)
		if !json.Valid(b) {
			return
		}
		if depth := bytes.Count(b, []byte("{")) + bytes.Count(b, []byte("[")); !ok && depth <= maxDepth {
			t.Fatalf("valid JSON is refused: %q", b)
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		for i := 0; ok; {
			token, err := dec.Token()
			if err != nil {
				if i != len(texts) {
					t.Fatalf("%d strings, want %d: %q", len(texts), i, b)
				}
				return
			}
			want, isString := token.(string)
			if !isString {
				continue
			}
			var got string
			if json.Unmarshal([]byte(`"`+texts[i]+`"`), &got) != nil || got != want {
				t.Fatalf("string %d is %q, want %q", i, texts[i], want)
			}
			i++
		}
	})
}
