// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// fullPath writes the path with keys and indexes.
func fullPath(p Path) string {
	var b strings.Builder
	for i := range p.Len() {
		if key, ok := p.Key(i); ok {
			b.WriteString("/" + string(key))
		} else {
			fmt.Fprintf(&b, "/%d", p.Index(i))
		}
	}
	return b.String()
}

func TestWalkAgainstGolden(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	var w Walker
	for range 5000 {
		var b strings.Builder
		randomJSON(r, &b, 6)
		body := []byte(b.String())
		want := readGolden(body)
		var got []goldenString
		err := w.Walk(body, func(p Path, v Value) bool {
			var x Decoded
			v.Text().Decode(body, &x)
			got = append(got, goldenString{string(x.Bytes), false, fullPath(p)})
			return true
		})
		if (err == nil) != (want.err == nil) {
			t.Fatalf("%s: %v, golden %v", body, err, want.err)
		}
		i := 0
		for _, s := range want.strings {
			if s.key || err != nil {
				continue
			}
			if i == len(got) || got[i] != s {
				t.Fatalf("%s: string %d is %+v of %+v", body, i, s, got)
			}
			i++
		}
		if i != len(got) {
			t.Fatalf("%s: %d strings, golden %d", body, len(got), i)
		}
	}
}

func TestWalkFindsTheLane(t *testing.T) {
	const body = `{"id":"c","choices":[{"delta":{"content":"zero"},"index":0},` +
		`{"index":1,"logprobs":[1,2,{"token":"t"}],"delta":{"t\u006fol_calls":[{"function":{"arguments":"{\"a"},"index":7},{"index":8,"function":{"arguments":"x"}}]}}]}`
	var w Walker
	var found []string
	err := w.Walk([]byte(body), func(p Path, v Value) bool {
		choice, _ := p.Int(2, "index")
		switch {
		case p.Is("choices", "delta", "content"):
			found = append(found, fmt.Sprintf("content %d %s", choice, p.Raw(v)))
		case p.Is("choices", "delta", "tool_calls", "function", "arguments"):
			call, ok := p.Int(p.Len()-2, "index")
			found = append(found, fmt.Sprintf("arguments %d %d %v %s %v", choice, call, ok, p.Raw(v), v.Escaped))
		}
		return true
	})
	want := `content 0 zero|arguments 1 7 true {\"a true|arguments 1 8 true x false`
	if got := strings.Join(found, "|"); err != nil || got != want {
		t.Errorf("got %s, want %s (%v)", got, want, err)
	}
}

func TestPathQuestions(t *testing.T) {
	const body = `{"n":1,"neg":-1,"big":99999999999,"frac":1.5,"s":"7","o":{},"l":[],"t":true,"z":null,"in":{"q":"here"}}`
	var w Walker
	visits := 0
	err := w.Walk([]byte(body), func(p Path, v Value) bool {
		if !p.Is("in", "q") {
			return true
		}
		visits++
		if p.Is("in") || p.Is("in", "q", "r") || p.Is() || p.Is("in", "x") || p.Len() != 2 || p.Index(0) != -1 {
			t.Error("Is, Len, Index")
		}
		if n, ok := p.Int(0, "n"); n != 1 || !ok {
			t.Error("Int")
		}
		for _, key := range []string{"neg", "big", "frac", "s", "none", "o"} {
			if n, ok := p.Int(0, key); ok {
				t.Errorf("Int of %s is %d", key, n)
			}
		}
		for key, kind := range map[string]ValueKind{
			"n": Number, "s": String, "o": Object, "l": Array, "t": Bool, "z": Null,
		} {
			if v, ok := p.Member(0, key); !ok || v.Kind != kind {
				t.Errorf("Member %s is %+v", key, v)
			}
		}
		return false
	})
	if err != nil || visits != 1 {
		t.Errorf("%d visits, %v", visits, err)
	}
	if err := w.Walk([]byte(`["a"]`), func(p Path, _ Value) bool {
		if _, ok := p.Member(0, "a"); ok || !p.Is() || p.Index(0) != 0 {
			t.Error("a list has members")
		}
		return true
	}); err != nil {
		t.Error(err)
	}
}

func TestWalkStrictAndLenient(t *testing.T) {
	const body = `{"logprob":-Infinity,"a":"x","a":"\ud83d"}`
	count := 0
	visit := func(Path, Value) bool { count++; return true }
	if err := (&Walker{}).Walk([]byte(body), visit); !errors.Is(err, ErrSyntax) || count != 0 {
		t.Errorf("strict: %v after %d visits", err, count)
	}
	if err := (&Walker{Lenient: true}).Walk([]byte(body), visit); err != nil || count != 2 {
		t.Errorf("lenient: %v after %d visits", err, count)
	}
}

// A string found by a walk can be rewritten where it stands.
func TestWalkAndSplice(t *testing.T) {
	body := []byte(`{"choices":[{"message":{"content":"to [EMAIL_1], \u005bEMAIL_1]"}}],"model":"[EMAIL_1]"}`)
	var w Walker
	var edits []Edit
	if err := w.Walk(body, func(p Path, v Value) bool {
		if p.Is("choices", "message", "content") {
			edits = append(edits, Edit{v.Start, v.End, []byte(`to a\"b@c.de`)})
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	want := `{"choices":[{"message":{"content":"to a\"b@c.de"}}],"model":"[EMAIL_1]"}`
	if got := string(Splice(body, edits, nil)); got != want {
		t.Errorf("got %s", got)
	}
}
