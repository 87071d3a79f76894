// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// golden reads an answer of /tokenize with the standard library. ok is false where that
// cannot be compared.
func golden(data []byte) (ids []uint32, texts []string, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || members == nil {
		return nil, nil, false
	}
	if raw, there := members["tokens"]; there {
		if string(raw) == "null" || json.Unmarshal(raw, &ids) != nil || bytes.Contains(raw, []byte("null")) {
			return nil, nil, false
		}
	}
	if raw, there := members["token_strs"]; there {
		var list []*string
		if json.Unmarshal(raw, &list) != nil {
			return nil, nil, false
		}
		for _, s := range list {
			if s == nil {
				s = new(string)
			}
			texts = append(texts, *s)
		}
	}
	if len(ids) == 0 {
		return nil, nil, false
	}
	if len(texts) != len(ids) {
		texts = nil
	}
	return ids, texts, true
}

// testLimits are small enough for tests to exceed them.
var testLimits = Limits{Tokens: 1000, TextBytes: 10_000, AnswerBytes: 100_000}.orDefaults()

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"count":3,"max_model_len":4096,"tokens":[1,22,4294967295],"token_strs":null}`,
		`{"tokens":[1,2],"token_strs":["a","\u0120b\ud83d\ude00\ud83d\"\\"]}`,
		`{"tokens":[1,2],"tokens":[3],"token_strs":["a"],"x":{"y":[[[{}]],1.5e-7,true,false,null,-0,"\u00e9"]}}`,
		`{"tokens":[1,2],"token_strs":["▁a","<0x0A>"]}`, `{"tokens":[01]}`, `{"tokens":[1.0]}`, `{"tokens":[-1]}`, `{"tokens":[1,]}`, `{}`, `[]`, `{"tokens":[4294967296]}`,
		`{"a":1e5,"tok\u0065ns":[7]} `, `{"tokens":[1]}x`, "{\"a\":\"\x01\",\"tokens\":[1]}", strings.Repeat("[", 600),
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, chunk int) {
		if len(data) > 5000 || !utf8.Valid(data) || bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) >= maxDepth {
			return
		}
		ids, texts, ok := golden(data)
		for _, src := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
			got, err := readAnswer(src, endpointTokenize, false, testLimits)
			if !ok {
				if err == nil {
					t.Fatalf("%q: read %v", data, got.IDs)
				}
				continue
			}
			if err == ErrTooLarge && len(ids) > testLimits.Tokens {
				continue
			}
			if err != nil {
				t.Fatalf("%q: %v", data, err)
			}
			want := spelledOut(ids, texts)
			if !slices.Equal(got.IDs, ids) || got.BeforeMedia != len(ids) || got.FromRender || got.HasTexts() != (len(texts) > 0) {
				t.Fatalf("%q: ids %v, want %v; %d usable; texts: %t", data, got.IDs, ids, got.BeforeMedia, got.HasTexts())
			}
			for i := range texts {
				if string(got.Text(i)) != want[i] {
					t.Fatalf("%q: text %d is %q, want %q", data, i, got.Text(i), want[i])
				}
			}
		}
	})
}

// Whatever an engine answers, the result is within bounds.
func FuzzRendered(f *testing.F) {
	for _, s := range []string{
		`{"request_id":"x","token_ids":[1,2,3],"features":null}`,
		`{"token_ids":[1,2,3],"features":{"mm_hashes":{"image":["x"]},"mm_placeholders":{"image":[{"offset":1,"length":1}]}}}`,
		`[{"token_ids":[1,2,3],"features":{}}]`, `{"features":{"mm_placeholders":null},"token_ids":[5]}`,
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, completion bool) {
		got, err := readAnswer(bytes.NewReader(data), endpointRender, completion, testLimits)
		if (got == nil) == (err == nil) {
			t.Fatalf("%q: %v and %v", data, got, err)
		}
		if err == nil && (len(got.IDs) == 0 || len(got.IDs) > testLimits.Tokens || got.BeforeMedia < 0 || got.BeforeMedia > len(got.IDs) || !got.FromRender || !json.Valid(data) && utf8.Valid(data)) {
			t.Fatalf("%q: %+v", data, got)
		}
	})
}

func TestTokensBeforeMedia(t *testing.T) {
	for _, c := range []struct {
		answer     string
		completion bool
		usable     int // -1: an error
	}{
		{`{"token_ids":[1,2,3],"features":null}`, false, 3},
		{`{"token_ids":[1,2,3]}`, false, 3},
		{`{"features":{"mm_placeholders":{"image":[{"length":1,"offset":2},{"offset":1,"length":1}],"audio":[]}},"token_ids":[1,2,3]}`, false, 1},
		{`{"token_ids":[1,2,3],"features":{"mm_placeholders":{"image":[{"offset":9,"length":1}]}}}`, false, 3},
		{`{"token_ids":[1,2,3],"features":{"mm_hashes":{"image":["x"]}}}`, false, 0},
		{`{"token_ids":[1,2,3],"features":{"mm_placeholders":null}}`, false, 0},
		{`{"token_ids":[1,2,3],"features":{"mm_placeholders":{"image":7}}}`, false, -1},
		{`[{"token_ids":[1,2,3],"features":null}]`, true, 3},
		{`[{"token_ids":[1]},{"token_ids":[2]}]`, true, -1},
		{`{"token_ids":[1,2,3]}`, true, -1},
		{`[{"token_ids":[1,2,3]}]`, false, -1},
		{`[]`, true, -1},
		{`{"token_ids":[]}`, false, -1},
		{`{"tokens":[1]}`, false, -1},
		{`{"token_ids":[1]`, false, -1},
	} {
		got, err := readAnswer(strings.NewReader(c.answer), endpointRender, c.completion, testLimits)
		if c.usable < 0 {
			if err != ErrAnswer {
				t.Errorf("%s: %v, %v", c.answer, got, err)
			}
			continue
		}
		if err != nil || got.BeforeMedia != c.usable {
			t.Errorf("%s: %+v, %v", c.answer, got, err)
		}
	}
}

// An answer above a limit is an error, one at the limit is not.
func TestAnswerLimits(t *testing.T) {
	list := func(n int) string { return "[" + strings.Repeat("7,", n-1) + "7]" }
	texts := func(n, size int) string {
		return `["` + strings.Repeat(strings.Repeat("x", size)+`","`, n-1) + `x"]`
	}
	for _, c := range []struct {
		answer string
		err    error
	}{
		{`{"tokens":` + list(1000) + `}`, nil},
		{`{"tokens":` + list(1001) + `}`, ErrTooLarge},
		{`{"tokens":[1],"token_strs":["` + strings.Repeat("x", 10_000) + `"]}`, nil},
		{`{"tokens":[1],"token_strs":["` + strings.Repeat("x", 10_001) + `"]}`, ErrTooLarge},
		{`{"tokens":[1],"token_strs":` + texts(1001, 0) + `}`, ErrTooLarge},
		{`{"tokens":[1],"x":"` + strings.Repeat("x", 99_979) + `"}`, nil},
		{`{"tokens":[1],"x":"` + strings.Repeat("x", 99_980) + `"}`, ErrTooLarge},
		{`{"tokens":[1],"x":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`, nil},
		{`{"tokens":[1],"x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, ErrAnswer},
	} {
		if _, err := readAnswer(strings.NewReader(c.answer), endpointTokenize, false, testLimits); err != c.err {
			t.Errorf("%d bytes, %.40s: %v, want %v", len(c.answer), c.answer, err, c.err)
		}
	}
}

// BenchmarkAnswer reads the answer for a prompt of 100,000 tokens.
func BenchmarkAnswer(b *testing.B) {
	var ids []uint32
	var texts []string
	for i := range 100_000 {
		ids, texts = append(ids, uint32(i*7919%math.MaxUint16)), append(texts, []string{"Ġword", "ing", "Ċ", "Ġa"}[i%4])
	}
	data, err := json.Marshal(map[string]any{"count": len(ids), "tokens": ids, "token_strs": texts})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readAnswer(bytes.NewReader(data), endpointTokenize, false, Limits{}.orDefaults()); err != nil {
			b.Fatal(err)
		}
	}
}
