// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"
)

// validate checks the invariants of a tape.
func (t *tape) validate() error {
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.start > n.end || int(n.end) > len(t.body) {
			return fmt.Errorf("node %d: range %d..%d", i, n.start, n.end)
		}
		if n.next <= uint32(i) || n.next > uint32(len(t.nodes)) {
			return fmt.Errorf("node %d: next %d of %d", i, n.next, len(t.nodes))
		}
		if n.kind > kindArray {
			if n.next != uint32(i+1) {
				return fmt.Errorf("node %d: the next of a leaf is %d", i, n.next)
			}
			continue
		}
		for c := uint32(i) + 1; c < n.next; c = t.nodes[c].next {
			key := t.nodes[c].kind == kindKey
			if key != (n.kind == kindObject) {
				return fmt.Errorf("node %d: member %d is of kind %d", i, c, t.nodes[c].kind)
			}
			if t.nodes[c].start <= n.start || t.nodes[c].end >= n.end {
				return fmt.Errorf("node %d: member %d lies outside", i, c)
			}
			if key {
				c++
			}
			if t.nodes[c].next > n.next {
				return fmt.Errorf("node %d: member %d reaches beyond it", i, c)
			}
		}
	}
	return nil
}

// checkTape compares the tape of body with the golden model.
func checkTape(t *testing.T, body []byte) *Error {
	t.Helper()
	var tp tape
	err := tp.parse(body)
	want := readGolden(body)
	if (err == nil) != (want.err == nil) {
		t.Fatalf("verdict on %.200q: %v, golden %v", body, err, want.err)
	}
	if err != nil {
		return err
	}
	if err := tp.validate(); err != nil {
		t.Fatalf("%.200q: %v", body, err)
	}
	i := 0
	for k := range tp.nodes {
		n := &tp.nodes[k]
		if n.kind != kindString && n.kind != kindKey {
			continue
		}
		if i == len(want.strings) {
			t.Fatalf("%.200q: more strings than %d", body, i)
		}
		got := string(appendUnescaped(nil, body[n.start:n.end]))
		if w := want.strings[i]; got != w.text || (n.kind == kindKey) != w.key {
			t.Fatalf("%.200q: string %d is %q, golden %q", body, i, got, w.text)
		}
		if n.kind == kindKey && n.name != lookup([]byte(got)) {
			t.Fatalf("%.200q: key %q has name %d", body, got, n.name)
		}
		i++
	}
	if i != len(want.strings) {
		t.Fatalf("%.200q: %d strings, golden %d", body, i, len(want.strings))
	}
	return nil
}

func TestParseAgainstGolden(t *testing.T) {
	for _, s := range []string{
		``, ` `, `{}`, `[]`, ` { } `, `null`, `nul`, `nulll`, `true`, `false`, `truefalse`, `1 2`,
		`{"a":1}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a" : [ 1 , 2 ] }`, `{"a":1 "b":2}`,
		`[1,]`, `[,1]`, `[1 2]`, `[1`, `[1}`, `{"a":1]`, `]`, `}`, `,`, `:`, `[[1],2]`, `[1,[],2,3]`,
		`[1,{"a":1},2]`, `[{"a":2},3,4]`, `[[1,2],[3],4 , 5]`, `[1,2,"a",3,4]`,
		`0`, `-0`, `01`, `-`, `+1`, `1.`, `.5`, `1.5e`, `1e+`, `1E-7`, `-1.25e+10`, `1e999`, `0x1`, `1_0`,
		`123456789012345678901234567890`, `--1`, `1-1`, `00`, `-01`, `0.0`, `0e0`,
		`NaN`, `Infinity`, `-Infinity`, `[NaN]`, `'a'`, `"a`, `"`, `"a"b`, `"\`, `"\"`, `"\x"`, `"\u12"`,
		`"\u12G4"`, `"\U0041"`, `"\u0041\/\b\f\n\r\t\"\\"`, `"\ud83d\ude00"`, `"\ud800"`, `"\ud800x"`,
		`"\udc00"`, `"\ud800\ud800"`, `"\ud800\u0041"`, `"\ud800\n"`, `"\uDBFF\uDFFF"`,
		"\"a\nb\"", "\"a\tb\"", "\"\x00\"", "\"\x1f\"", "\"\x7f\"", "\"\u0080\"", "{\"a\":1}\x00", "\x0b1",
		"\"\xff\"", "\"\xc0\x80\"", "\"\xc2\"", "\"\xc2\xa9\"", "\"\xe0\x80\x80\"", "\"\xe0\xa0\x80\"",
		"\"\xed\xa0\x80\"", "\"\xed\x9f\xbf\"", "\"\xef\xbf\xbf\"", "\"\xf0\x80\x80\x80\"",
		"\"\xf0\x90\x80\x80\"", "\"\xf4\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"",
		"\"\xe2\x82\"", "\"\xf0\x9f\x98\"", "\"\x80\"", "\"\xbf\"", "\xff", "\xef\xbb\xbf{}", "\xff\xfe{\x00",
		"\xfe\xff\x00{", "{\x00}\x00", "\x00{\x00}", "\u00a0{}", "\u2028", "{}\u00a0",
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"content":1,"c\u006fntent":2}`, `{"é":1,"\u00e9":2}`,
		`{"a":{"a":1},"b":{"a":1}}`, `{"":1,"":2}`, `{"":1}`, `{"\ud83d\ude00":1,"😀":2}`,
		`{"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"b":1}`,
		`{"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"\u006b":1}`,
		`{"role":1,"content":2,"role":3}`,
	} {
		checkTape(t, []byte(s))
	}
}

// Strings end at every alignment: in the eight-byte loop and in its tail, at every
// kind of byte that ends it.
func TestStringAtEveryAlignment(t *testing.T) {
	stops := []string{
		"", `\n`, `\u00e9`, `\ud83d\ude00`, "é", "€", "😀", "\x7f", "\x1f", "\x80", "\xff", "\xe2\x82", `\`, `\q`,
		`\ud800`, "\xed\xa0\x80",
	}
	for before := range 40 {
		for after := range 20 {
			for _, stop := range stops {
				s := strings.Repeat("a", before) + stop + strings.Repeat("z", after)
				checkTape(t, []byte(`["`+s+`","`+s+`"]`))
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	deepObjects := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for _, c := range []struct {
		body string
		want *Error
	}{
		{"", ErrSyntax},
		{`{"a":1}x`, ErrSyntax},
		{`{"a":1}{"b":2}`, ErrSyntax},
		{"{\"a\":\"\n\"}", ErrSyntax},
		{`{"a":NaN}`, ErrSyntax},
		{"\xef\xbb\xbf{}", ErrEncoding},
		{utf16Text(`{"a":1}`, binary.LittleEndian, true), ErrEncoding},
		{utf16Text(`{"a":1}`, binary.BigEndian, true), ErrEncoding},
		{utf16Text(`{"a":1}`, binary.LittleEndian, false), ErrEncoding},
		{utf16Text(`{"a":1}`, binary.BigEndian, false), ErrEncoding},
		{"{\x00\x00\x00}\x00\x00\x00", ErrEncoding},
		{"{\"a\":\"\xff\"}", ErrUTF8},
		{"{\"\xff\":1}", ErrUTF8},
		{`{"a":"\ud800"}`, ErrSurrogate},
		{`{"\udfff":1}`, ErrSurrogate},
		{`{"a":1,"a":1}`, ErrDuplicateKey},
		{`{"x":{"messages":1,"messages":1}}`, ErrDuplicateKey},
		{deep(MaxDepth), nil},
		{deep(MaxDepth + 1), ErrDepth},
		{deepObjects(MaxDepth), nil},
		{deepObjects(MaxDepth + 1), ErrDepth},
		{strings.Repeat("[", 1<<20), ErrDepth},
		{"[" + strings.Repeat(`"",`, MaxValues) + `""]`, ErrValues},
		{"[" + strings.Repeat(`[],`, MaxValues) + `1]`, ErrValues},
		{"[" + strings.Repeat(`1,`, 2*MaxValues) + `1]`, nil},
	} {
		var d Document
		err := d.Parse(Other, []byte(c.body))
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%.40q (%d bytes): %v, want %v", c.body, len(c.body), err, c.want)
		}
	}
}

func utf16Text(s string, order binary.ByteOrder, mark bool) string {
	units := utf16.Encode([]rune(s))
	if mark {
		units = append([]uint16{0xFEFF}, units...)
	}
	b := make([]byte, 2*len(units))
	for i, u := range units {
		order.PutUint16(b[2*i:], u)
	}
	return string(b)
}

// Lenient parsing takes what Python's json module takes, since nested documents
// may come from there.
func TestParseLenient(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"a":1,"a":2}`:            true,
		`[NaN,Infinity,-Infinity]`: true,
		`"\ud800"`:                 true,
		`[-NaN]`:                   false,
		"\"\xff\"":                 false,
		"\"\n\"":                   false,
		`{"a":1}{}`:                false,
		`[nan]`:                    false,
	} {
		tp := tape{lenient: true}
		if err := tp.parse([]byte(body)); (err == nil) != ok {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestDuplicateAmongMany(t *testing.T) {
	const n = 100_000
	body := keysBody(n)
	if err := checkTape(t, body); err != nil {
		t.Fatal(err)
	}
	for _, twin := range []string{`"key5"`, `"\u006bey99999"`, `"k"`} {
		twice := strings.Replace(string(body), `}}`, `,`+twin+`:1}}`, 1)
		var d Document
		if err := d.Parse(Chat, []byte(twice)); !errors.Is(err, ErrDuplicateKey) {
			t.Errorf("%s: %v", twin, err)
		}
	}
}

// Keys over two letters, spelled with and without escapes, collide often.
func TestDuplicatesRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 8000 {
		var keys []string
		for range r.IntN(14) {
			var k strings.Builder
			for range r.IntN(5) {
				k.WriteString([...]string{"a", "b", `\u0061`, `\u0062`, "é", `\u00E9`}[r.IntN(6)])
			}
			if r.IntN(8) == 0 {
				k.Reset()
				k.WriteString([...]string{"content", "role", `r\u006fle`}[r.IntN(3)])
			}
			keys = append(keys, `"`+k.String()+`":{"a":[]}`)
		}
		if checkTape(t, []byte("{"+strings.Join(keys, ", ")+"}")) != nil {
			refused++
		}
	}
	if refused < 800 || refused > 7200 {
		t.Fatalf("%d of 8000 bodies were refused; the generator must make more or fewer", refused)
	}
}

func TestLookup(t *testing.T) {
	seen := map[name]string{}
	for _, s := range append(append([]string{}, actedOn[1:]...), recognized[:]...) {
		n := lookup([]byte(s))
		if n == nameNone || seen[n] != "" {
			t.Errorf("%q: %d, taken by %q", s, n, seen[n])
		}
		if len(s) > longestName {
			t.Errorf("%q is longer than longestName", s)
		}
		seen[n] = s
	}
	if numNames > 255 {
		t.Errorf("%d names do not fit a byte", numNames)
	}
	if lookup([]byte("messages")) != nameMessages || lookup([]byte("type")) != nameType {
		t.Error("actedOn does not match the constants")
	}
	for _, s := range []string{"", "Role", "roles", "role ", "john@example.com", strings.Repeat("a", 99)} {
		if lookup([]byte(s)) != nameNone {
			t.Errorf("%q is well known", s)
		}
	}
}

// randomJSON writes a random value with many repetitions.
func randomJSON(r *rand.Rand, b *strings.Builder, depth int) {
	space := func() { b.WriteString([...]string{"", "", "", " ", "\n\t"}[r.IntN(5)]) }
	atoms := [...]string{
		`""`, `"a"`, `"\u0041\n"`, `"é\ud83d\ude00"`, `"x@y.zz"`, `1`, `-2.5e3`, `0`, `true`, `false`, `null`,
		`"data:image/png;base64,AAAA"`, `"role"`,
	}
	space()
	defer space()
	switch k := r.IntN(10); {
	case k < 3 && depth > 0:
		b.WriteByte('[')
		for i := range r.IntN(5) {
			if i > 0 {
				b.WriteByte(',')
			}
			randomJSON(r, b, depth-1)
		}
		b.WriteByte(']')
	case k < 6 && depth > 0:
		b.WriteByte('{')
		for i := range r.IntN(5) {
			if i > 0 {
				b.WriteByte(',')
			}
			space()
			b.WriteString([...]string{`"a"`, `"b"`, `"content"`, `"role"`, `"x y"`, `"\u0062"`, `"type"`, `"text"`}[r.IntN(8)])
			space()
			b.WriteByte(':')
			randomJSON(r, b, depth-1)
		}
		b.WriteByte('}')
	default:
		b.WriteString(atoms[r.IntN(len(atoms))])
	}
}

func TestParseRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 8000 {
		var b strings.Builder
		randomJSON(r, &b, 6)
		body := []byte(b.String())
		checkTape(t, body)
		// One byte is broken.
		if len(body) > 0 {
			at := r.IntN(len(body))
			const breakers = "\"\\{}[],:0e-x \n\x00\x80\xe2"
			body[at] = breakers[r.IntN(len(breakers))]
			checkTape(t, body)
			checkTape(t, body[:at])
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"messages":[{"role":"user","content":"a\u0041é"}],"tools":[{"type":"function"}]}`,
		`{"a":1,"\u0061":2}`, `[1,2,[3,{"a":-1.5e+3}]]`, `"\ud83d\ude00"`, "\xef\xbb\xbf1", `{"input":["a",[1,2]]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkTape(t, body) })
}

// The result does not depend on earlier use of the same memory.
func TestParseReusesMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var used tape
	for range 5000 {
		var b strings.Builder
		randomJSON(r, &b, 5)
		body := []byte(b.String())
		if r.IntN(3) == 0 {
			body = body[:r.IntN(len(body)+1)]
		}
		var fresh tape
		a, c := used.parse(body), fresh.parse(body)
		if a != c || len(used.nodes) != len(fresh.nodes) && a == nil {
			t.Fatalf("%q: %v with used memory, %v with fresh", body, a, c)
		}
	}
}

// The golden model itself gets known facts right.
func TestGolden(t *testing.T) {
	if !hasLoneSurrogate([]byte(`"\\\ud800"`)) || hasLoneSurrogate([]byte(`"\\ud800"`)) {
		t.Error("hasLoneSurrogate is wrong")
	}
	var v any
	if json.Unmarshal([]byte(`{"a":"x","a":"y"}`), &v) != nil || readGolden([]byte(`{"a":"x","a":"y"}`)).err != ErrDuplicateKey {
		t.Error("the golden model takes duplicate keys")
	}
	if g := readGolden([]byte(`{"a":["x",{"b":"y"}]}`)); len(g.strings) != 4 || g.strings[3].path != "/a/1/b" {
		t.Errorf("%+v", g)
	}
	const hard = "a\"\\\n\x00\u00e9😀/"
	quoted := quote(hard)
	if s, err := unquote([]byte(quoted[1 : len(quoted)-1])); err != nil || s != hard {
		t.Errorf("%q becomes %q, %v", hard, s, err)
	}
}
