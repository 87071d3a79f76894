// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// randomEdits cuts n bytes of text into edits.
func randomEdits(r *rand.Rand, n int) (edits []Edit) {
	for at := 0; at < n; {
		at += r.IntN(10)
		end := at + r.IntN(5)
		if end > n {
			break
		}
		edits = append(edits, Edit{at, end, []byte(strings.Repeat("X", r.IntN(6)))})
		at = end
	}
	return edits
}

func TestSpliceRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	var dst []byte
	for range 5000 {
		body := make([]byte, r.IntN(80))
		for i := range body {
			body[i] = byte('a' + i%26)
		}
		edits := randomEdits(r, len(body))
		// The model makes the edits from the last to the first.
		want := string(body)
		for i := len(edits) - 1; i >= 0; i-- {
			want = want[:edits[i].Start] + string(edits[i].New) + want[edits[i].End:]
		}
		dst = Splice(body, edits, dst)
		if string(dst) != want {
			t.Fatalf("%q with %+v is %q, want %q", body, edits, dst, want)
		}
		dst = dst[:0:cap(dst)]
		if len(edits) == 0 {
			dst = nil // it was body
		}
	}
}

func TestSpliceNothing(t *testing.T) {
	d := parsed(t, Chat, `{"messages":[{"role":"user","content":"x"}]}`)
	body := d.Body
	if got := d.Splice(nil, nil); &got[0] != &body[0] || len(got) != len(body) || len(d.Texts) != 1 {
		t.Error("a clean body is not the same slice")
	}
	if n := testing.AllocsPerRun(100, func() { d.Splice(nil, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSpliceMistakes(t *testing.T) {
	for _, edits := range [][]Edit{
		{{2, 1, nil}}, {{0, 4, nil}}, {{-1, 0, nil}}, {{1, 2, nil}, {0, 1, nil}}, {{0, 2, nil}, {1, 3, nil}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v does not panic", edits)
				}
			}()
			Splice([]byte("abc"), edits, nil)
		}()
	}
}

// checkSplice checks that a document after a splice equals the parsed new body.
func checkSplice(t *testing.T, d *Document, edits []Edit) {
	t.Helper()
	old := string(d.Body)
	body := d.Splice(edits, nil)
	var again Document
	if err := again.Parse(d.API, body); err != nil {
		t.Fatalf("%s\nbecame %s\n%v", old, body, err)
	}
	a, b := stream(d), stream(&again)
	if len(a) != len(b) || !bytes.Equal(bytes.Join(a, []byte{0xFD}), bytes.Join(b, []byte{0xFD})) {
		t.Fatalf("%s\nbecame %s\nand renders %q\nparsed anew %q", old, body, a, b)
	}
	if d.InsertAt != again.InsertAt || d.Empty != again.Empty || d.StreamOptions != again.StreamOptions ||
		d.CacheSalt != again.CacheSalt || d.IncludeUsage != again.IncludeUsage {
		t.Fatalf("%s\nbecame %s\nmembers %+v %+v %+v\nparsed anew %+v %+v %+v", old, body,
			d.StreamOptions, d.IncludeUsage, d.CacheSalt, again.StreamOptions, again.IncludeUsage, again.CacheSalt)
	}
}

func TestDocumentSplice(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for round := range 1500 {
		var messages []message
		for range 1 + r.IntN(4) {
			messages = append(messages, chatMessage(r))
		}
		head := free{{"cache_salt", "salt"}, {"stream_options", free{{"include_usage", atom("true")}}}}
		if round%2 == 0 {
			head = append(head, member{"tools", list{kept{{"name", "f"}, {"description", phrase(r)}, {"cache_control", free{}}}}})
		}
		d := parsed(t, Chat, request(r, Chat, head, messages, len(messages)))
		checkSplice(t, d, placeholders(r, d))
	}
}

// placeholders returns edits in body order that replace a part of some texts, as a
// scrubber does, and add a member in front.
func placeholders(r *rand.Rand, d *Document) (edits []Edit) {
	var x Decoded
	at := map[int]Edit{}
	for _, text := range d.Texts {
		text.Decode(d.Body, &x)
		bounds := runeBounds(x.Bytes)
		if text.Key || len(bounds) < 2 || r.IntN(3) == 0 {
			continue
		}
		i := r.IntN(len(bounds) - 1)
		j := i + 1 + r.IntN(len(bounds)-i-1)
		s, e := x.Span(bounds[i], bounds[j])
		at[s] = Edit{s, e, []byte([...]string{"[EMAIL_1]", "[REDACTED]", "X"}[r.IntN(3)])}
	}
	if r.IntN(2) == 0 && d.InsertAt > 0 && !bytes.Contains(d.Body, []byte("added")) {
		added := `"added":1`
		if !d.Empty {
			added += ","
		}
		at[d.InsertAt] = Edit{d.InsertAt, d.InsertAt, []byte(added)}
	}
	for i := range d.Body {
		if e, ok := at[i]; ok {
			edits = append(edits, e)
		}
	}
	return edits
}

func TestSpliceIntoTheEmptyObject(t *testing.T) {
	d := parsed(t, Other, `{}`)
	checkSplice(t, d, []Edit{{d.InsertAt, d.InsertAt, []byte(`"a":1`)}})
}
