// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// checkSpans decodes the string t of body and checks that ranges of the text
// between rune boundaries lead back to raw ranges that decode to them.
func checkSpans(t *testing.T, body []byte, text Text, r *rand.Rand) {
	t.Helper()
	var d Decoded
	text.Decode(body, &d)
	want, err := unquote(body[text.Start:text.End])
	if err != nil || string(d.Bytes) != want {
		t.Fatalf("%.200q decodes to %.200q, want %.200q (%v)", body, d.Bytes, want, err)
	}
	bounds := runeBounds(d.Bytes)
	for range 30 {
		i, j := r.IntN(len(bounds)), r.IntN(len(bounds))
		if i > j {
			i, j = j, i
		}
		from, to := bounds[i], bounds[j]
		rawFrom, rawTo := d.Span(from, to)
		if rawFrom < text.Start || rawTo > text.End || rawFrom > rawTo {
			t.Fatalf("%.200q: span %d..%d is %d..%d", body, from, to, rawFrom, rawTo)
		}
		if got, err := unquote(body[rawFrom:rawTo]); err != nil || got != want[from:to] {
			t.Fatalf("%.200q: span %d..%d is %q, want %q", body, from, to, got, want[from:to])
		}
	}
	if s, e := d.Span(0, len(d.Bytes)); len(d.Bytes) > 0 && (s != text.Start || e != text.End) {
		t.Fatalf("%.200q: the whole text is at %d..%d", body, s, e)
	}
}

func runeBounds(b []byte) []int {
	bounds := []int{0}
	for i := 0; i < len(b); {
		_, n := utf8.DecodeRune(b[i:])
		i += n
		bounds = append(bounds, i)
	}
	return bounds
}

var pieces = [...]string{
	"a", "bc", "é", "€", "😀", `\n`, `\"`, `\\`, `\/`, `\u0041`, `\u00e9`, `\u20AC`, `\ud83d\ude00`,
	"plain text that goes on for a while without anything to decode in it, ",
}

func randomRaw(r *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

func TestSpansRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 3000 {
		raw := randomRaw(r, r.IntN(60))
		body := []byte(`["` + raw + `"]`)
		checkSpans(t, body, Text{Start: 2, End: 2 + len(raw), Escaped: strings.Contains(raw, `\`)}, r)
	}
	for range 30 { // long enough for many checkpoints
		raw := randomRaw(r, 5000)
		checkSpans(t, []byte(`"`+raw+`"`), Text{Start: 1, End: 1 + len(raw), Escaped: true}, r)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`a\u0040b\ud83d\ude00\\`, uint64(1))
	f.Add(strings.Repeat(`\n`, 400), uint64(2))
	f.Fuzz(func(t *testing.T, raw string, seed uint64) {
		body := []byte(`"` + raw + `"`)
		var tp tape
		if tp.parse(body) != nil || len(tp.nodes) != 1 || tp.nodes[0].kind != kindString {
			return
		}
		n := tp.nodes[0]
		checkSpans(t, body, Text{Start: int(n.start), End: int(n.end), Escaped: n.escaped()},
			rand.New(rand.NewPCG(seed, 0)))
	})
}

func TestSpanInsideARune(t *testing.T) {
	body := []byte(`"x\ud83d\ude00y\u00e9"`)
	var d Decoded
	Text{Start: 1, End: len(body) - 1, Escaped: true}.Decode(body, &d)
	// x 😀(4) y é(2)
	for _, c := range []struct{ from, to, rawFrom, rawTo int }{
		{0, 1, 1, 2}, {1, 5, 2, 14}, {2, 3, 2, 14}, {1, 2, 2, 14}, {4, 6, 2, 15}, {6, 8, 15, 21}, {7, 8, 15, 21},
		{0, 8, 1, 21}, {8, 8, 21, 21}, {0, 0, 1, 1}, {5, 5, 14, 14},
	} {
		if s, e := d.Span(c.from, c.to); s != c.rawFrom || e != c.rawTo {
			t.Errorf("span %d..%d is %d..%d, want %d..%d", c.from, c.to, s, e, c.rawFrom, c.rawTo)
		}
	}
	for _, c := range [][2]int{{-1, 0}, {1, 0}, {0, 9}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("span %v does not panic", c)
				}
			}()
			d.Span(c[0], c[1])
		}()
	}
}

// A text of escapes only has one checkpoint in 256 bytes, not one an escape.
func TestDecodedMemory(t *testing.T) {
	body := []byte(`"` + strings.Repeat(`\\`, 1<<20) + `"`)
	var d Decoded
	Text{Start: 1, End: len(body) - 1, Escaped: true}.Decode(body, &d)
	if got := len(d.marks); got > 1<<20/checkpointEvery {
		t.Errorf("%d checkpoints for %d bytes", got, len(d.Bytes))
	}
	if s, e := d.Span(777_777, 777_778); s != 1+2*777_777 || e != s+2 {
		t.Errorf("span in the middle is %d..%d", s, e)
	}
	d.Wipe()
	if d.Bytes != nil || d.src != nil || strings.ContainsRune(string(d.buf[:cap(d.buf)]), '\\') {
		t.Error("Wipe leaves text or references")
	}
}

// texts returns the texts that a cursor finds in one JSON string.
func texts(body []byte, t Text) (found []string) {
	var c Cursor
	for d := c.Open(body, t); d != nil; d = c.Next() {
		found = append(found, string(d.Bytes))
	}
	return found
}

func TestCursor(t *testing.T) {
	for _, c := range []struct {
		name, text string // text is the decoded string
		loose      bool
		want       []string
	}{
		{"object", `{"to":"a@b.cc","nn":4111,"l":["x\u0040y.z",true]}`, false, []string{"to", "a@b.cc", "nn", "l", "x@y.z"}},
		{"well-known keys are left out", `{"name":"x"}`, false, []string{"x"}},
		{"list", ` ["a\nb"]`, false, []string{"a\nb"}},
		{"string", `"a\"b"`, false, []string{`a"b`}},
		{"plain text", "call me\nnow", false, []string{"call me\nnow"}},
		{"number", `4111`, false, []string{`4111`}},
		{"broken", `{"a":"b\n"`, false, []string{`{"a":"b\n"`}},
		{"python's json", `{"a":NaN,"a":"\ud800x"}`, false, []string{"a", "a", "\uFFFDx"}},
		{"empty", "", false, []string{""}},
		{"empty object", "{}", false, nil},
		{"data URL", `{"q":"data:image/png;base64,AAAA"}`, false, []string{"q"}},
		{"loose without escapes", `{"q":"a@b.cc","card":4111}`, true, []string{`{"q":"a@b.cc","card":4111}`}},
		{"loose with escapes", `{"q":"l\na@b.cc","card":4111}`, true, []string{"q", "l\na@b.cc", "card", "4111"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := []byte(quote(c.text))
			text := Text{Start: 1, End: len(body) - 1, Nested: true, Loose: c.loose, Escaped: strings.Contains(string(body), `\`)}
			got := texts(body, text)
			if strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A placeholder can replace any part of a nested string: both levels still parse,
// and the nested string has the placeholder.
func TestNestedReplacement(t *testing.T) {
	const placeholder = "[EMAIL_1]"
	r := rand.New(rand.NewPCG(9, 10))
	for range 3000 {
		inner := `{"zz":"` + randomRaw(r, 1+r.IntN(20)) + `","yy":["` + randomRaw(r, r.IntN(5)) + `"]}`
		outer := []byte(`{"arguments":` + quoteAtRandom(r, inner) + `}`)
		text := Text{Start: len(`{"arguments":"`), End: len(outer) - 2, Nested: true, Escaped: true}
		var c Cursor
		for d := c.Open(outer, text); d != nil; d = c.Next() {
			bounds := runeBounds(d.Bytes)
			if len(bounds) < 2 || string(d.Bytes) == "zz" || string(d.Bytes) == "yy" {
				continue
			}
			i := r.IntN(len(bounds) - 1)
			j := i + 1 + r.IntN(len(bounds)-1-i)
			want := string(d.Bytes[:bounds[i]]) + placeholder + string(d.Bytes[bounds[j]:])
			s, e := d.Span(bounds[i], bounds[j])
			changed := Splice(outer, []Edit{{s, e, []byte(placeholder)}}, nil)
			var level1 struct{ Arguments string }
			if err := json.Unmarshal(changed, &level1); err != nil {
				t.Fatalf("%s: %v", changed, err)
			}
			var level2 struct {
				ZZ string
				YY []string
			}
			if err := json.Unmarshal([]byte(level1.Arguments), &level2); err != nil {
				t.Fatalf("%s: %v", changed, err)
			}
			if level2.ZZ != want && level2.YY[0] != want {
				t.Fatalf("%s: want %q", changed, want)
			}
		}
	}
}

// quoteAtRandom writes s as a JSON string with random escapes.
func quoteAtRandom(r *rand.Rand, s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		plain := quote(string(c))
		plain = plain[1 : len(plain)-1]
		switch {
		case r.IntN(4) == 0:
			if c < 0x10000 {
				b.Write(unit(c))
				continue
			}
			c -= 0x10000
			b.Write(unit(0xD800 + c>>10))
			b.Write(unit(0xDC00 + c&0x3FF))
		case c == '/' && r.IntN(2) == 0:
			b.WriteString(`\/`)
		default:
			b.WriteString(plain)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unit writes one UTF-16 unit as an escape.
func unit(c rune) []byte {
	const hex = "0123456789aBcDeF"
	return []byte{'\\', 'u', hex[c>>12&15], hex[c>>8&15], hex[c>>4&15], hex[c&15]}
}

func TestCursorMemorySizeAndWipe(t *testing.T) {
	body := []byte(quote(`{"a":"secret\nvalue"}`))
	var c Cursor
	for d := c.Open(body, Text{Start: 1, End: len(body) - 1, Escaped: true, Nested: true}); d != nil; d = c.Next() {
		if len(d.Bytes) == 0 {
			t.Fatal("the text is empty")
		}
	}
	if c.MemorySize() < len("secret") {
		t.Errorf("the cursor keeps %d bytes", c.MemorySize())
	}
	outer, inner := c.outer.buf[:cap(c.outer.buf)], c.inner.buf[:cap(c.inner.buf)]
	c.Wipe()
	if strings.Contains(string(outer)+string(inner), "secret") || c.tape.body != nil || c.Next() != nil {
		t.Error("Wipe leaves text or references")
	}
}

// Replacing any text of any string leaves the body valid, and so the JSON document
// in the string.
func FuzzCursor(f *testing.F) {
	f.Add(`{"to":"a\u0040b.cc","n":[1,"x\ny"],"q\"":NaN}`, false, uint64(1))
	f.Add(`["l\na@b.cc",4111]`, true, uint64(2))
	f.Add("plain \\n text", true, uint64(3))
	f.Fuzz(func(t *testing.T, text string, loose bool, seed uint64) {
		if !utf8.ValidString(text) {
			return
		}
		r := rand.New(rand.NewPCG(seed, 3))
		body := []byte(`{"a":` + quoteAtRandom(r, text) + `}`)
		start, end := len(`{"a":"`), len(body)-2
		outer := Text{Start: start, End: end, Nested: true, Loose: loose, Escaped: strings.Contains(string(body), `\`)}
		inner := tape{lenient: true}
		document := inner.parse([]byte(text)) == nil && strings.IndexAny(strings.TrimLeft(text, " \t\r\n"), `{["`) == 0
		var c Cursor
		last := start
		for d := c.Open(body, outer); d != nil; d = c.Next() {
			bounds := runeBounds(d.Bytes)
			i := r.IntN(len(bounds))
			j := i + r.IntN(len(bounds)-i)
			s, e := d.Span(bounds[i], bounds[j])
			if s < last || e > end || s > e {
				t.Fatalf("%q: %q is at %d..%d, the last one ended at %d", body, d.Bytes, s, e, last)
			}
			_, last = d.Span(0, len(d.Bytes))
			changed := Splice(body, []Edit{{s, e, []byte("[IP_1]")}}, nil)
			var got struct{ A string }
			if err := json.Unmarshal(changed, &got); err != nil {
				t.Fatalf("%q became %q: %v", body, changed, err)
			}
			again := tape{lenient: true}
			if document && !loose && again.parse([]byte(got.A)) != nil {
				t.Fatalf("%q became %q, and its string no longer parses", body, changed)
			}
		}
	})
}
