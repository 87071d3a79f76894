// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// chunks returns a long chat stream of n events, one a Write as engines send them.
// A placeholder cut into tokens begins at every so many events (0: at none).
func chunks(n, every int) [][]byte {
	tokens := []string{" the", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", "."}
	cut := []string{" [", "EMAIL", "_", "1", "]"}
	var pieces [][]byte
	for i := range n {
		token := tokens[i%len(tokens)]
		if every > 0 && i%every < len(cut) {
			token = cut[i%every]
		}
		pieces = append(pieces, fmt.Appendf(nil, `data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1772423572,"model":"meta-llama/Llama-3.1-70B-Instruct","choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}]}`+"\n\n", token))
	}
	return pieces
}

func size(pieces [][]byte) (n int64) {
	for _, p := range pieces {
		n += int64(len(p))
	}
	return n
}

// No event and no piece of a body allocates: restored, held back or only observed.
func TestSteadyStateAllocations(t *testing.T) {
	v := newVault("[EMAIL_1]", "ada@\"example\".org")
	fixed := &fixedVault{v: v}
	for name, p := range map[string]Placeholders{"observed": nil, "restored": fixed} {
		s := NewStream(io.Discard, p, &watcher{t: t})
		b := NewBody(io.Discard, p, &watcher{t: t})
		pieces := chunks(100, 7)
		pieces = append(pieces, pieces[0][:50], pieces[0][50:])
		if _, err := b.Write([]byte(`{"choices":[`)); err != nil {
			t.Fatal(err)
		}
		object := []byte(`{"message":{"content":"to [EMAIL_1] and [EMAIL"},"x":[1,2,{"arguments":"[EMAIL_1]\u00e9"}]},`)
		run := func() {
			for _, piece := range pieces {
				if _, err := s.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := b.Write(object); err != nil {
				t.Fatal(err)
			}
		}
		run()
		if n := testing.AllocsPerRun(20, run); n != 0 {
			t.Errorf("%s: %v allocations in %d events", name, n, len(pieces))
		}
	}
}

// fixedVault is a vault that does not allocate.
type fixedVault struct{ v *vault }

func (f *fixedVault) Value(p []byte) ([]byte, bool) {
	if string(p) == "[EMAIL_1]" {
		f.v.scratch = append(f.v.scratch[:0], f.v.values["[EMAIL_1]"]...)
		return f.v.scratch, true
	}
	return nil, false
}

func (f *fixedVault) HasPrefix(tail []byte) bool { return strings.HasPrefix("[EMAIL_1]", string(tail)) }
func (f *fixedVault) Len() int                   { return 1 }

func benchmarkStream(b *testing.B, p Placeholders, pieces [][]byte) {
	s := NewStream(io.Discard, p, nil)
	b.SetBytes(size(pieces) / int64(len(pieces)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Write(pieces[i%len(pieces)]); err != nil {
			b.Fatal(err)
		}
	}
}

// One operation is one event.
func BenchmarkStream(b *testing.B) {
	v := &fixedVault{v: newVault("[EMAIL_1]", "ada@example.org")}
	b.Run("observed", func(b *testing.B) { benchmarkStream(b, nil, chunks(1000, 0)) })
	b.Run("nothing to restore", func(b *testing.B) { benchmarkStream(b, v, chunks(1000, 0)) })
	b.Run("1 placeholder in 100 events", func(b *testing.B) { benchmarkStream(b, v, chunks(1000, 100)) })
	b.Run("1 placeholder in 5 events", func(b *testing.B) { benchmarkStream(b, v, chunks(1000, 5)) })
	var b32 [][]byte // many events of a fast engine in a buffer of 32 KB
	for rest := bytes.Join(chunks(1000, 100), nil); len(rest) > 0; {
		n := min(32<<10, len(rest))
		b32, rest = append(b32, rest[:n]), rest[n:]
	}
	b.Run("in pieces of 32 KB", func(b *testing.B) { benchmarkStream(b, v, b32) })
}

// One operation is 32 KB.
func BenchmarkBody(b *testing.B) {
	v := &fixedVault{v: newVault("[EMAIL_1]", "ada@example.org")}
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 700) + "to [EMAIL_1]"
	numbers := strings.Repeat("-0.01234567,", 2700)
	for name, doc := range map[string]string{
		"text":       `{"message":{"content":"` + text + `"}},`,
		"embeddings": `{"embedding":[` + numbers + `0]},`,
	} {
		for kind, p := range map[string]Placeholders{"observed": nil, "restored": v} {
			b.Run(name+" "+kind, func(b *testing.B) {
				body := NewBody(io.Discard, p, nil)
				piece := []byte(doc)
				b.SetBytes(int64(len(piece)))
				b.ReportAllocs()
				if _, err := body.Write([]byte("[")); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if _, err := body.Write(piece); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
