// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// split cuts bytes into random pieces.
func split(wire []byte, seed uint64) [][]byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	var pieces [][]byte
	for len(wire) > 0 {
		n := 1 + rng.IntN(min(len(wire), 1+rng.IntN(64)))
		pieces, wire = append(pieces, wire[:n]), wire[n:]
	}
	return pieces
}

// Every way of cutting a stream gives the same output, and the stream itself when
// there are no placeholders.
func FuzzStream(f *testing.F) {
	for _, c := range streams {
		f.Add(sse(c.events...), uint64(1))
	}
	for i, d := range dialects {
		for n, s := range spellings {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(n)))
			lanes := d.lanes(func(bool) string { return "a[EMAIL_10][NA" })
			rng.Shuffle(len(lanes), func(i, j int) { lanes[i], lanes[j] = lanes[j], lanes[i] })
			f.Add(transcribe(rng, &d, s, lanes[:1]).wire, uint64(n)) // small inputs suit the fuzzer
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		v := awkward()
		one, many := &watcher{t: t}, &watcher{t: t}
		want := through(t, v, one, wire)
		got := through(t, v, many, split(wire, seed)...)
		if !bytes.Equal(got, want) {
			t.Fatalf("cut differently:\n%q\n%q", got, want)
		}
		many.check(t, one.tokens, usageOf(one), one.finishes...)
		none := &watcher{t: t}
		if got := through(t, nil, none, split(wire, seed)...); !bytes.Equal(got, wire) {
			t.Fatalf("without placeholders %q became %q", wire, got)
		}
		// Both read the same, unless an event has too many strings to restore.
		if len(wire) < maxParts {
			none.check(t, one.tokens, usageOf(one), one.finishes...)
		}
		unrelated := newVault("[NOT_HERE_1]", "x")
		if !bytes.Contains(wire, []byte("[")) && !bytes.Contains(wire, []byte(`\u005`)) {
			if got := through(t, unrelated, nil, wire); !bytes.Equal(got, wire) {
				t.Fatalf("without brackets %q became %q", wire, got)
			}
		}
	})
}

func usageOf(w *watcher) *Usage {
	if len(w.usages) == 0 {
		return nil
	}
	return &w.usages[0]
}

// FuzzBody is FuzzStream for JSON. A body without restorable placeholders does not
// change.
func FuzzBody(f *testing.F) {
	for _, c := range bodies {
		f.Add([]byte(c.in), uint64(1))
	}
	for seed := range uint64(8) {
		f.Add([]byte(randomBody(rand.New(rand.NewPCG(seed, 4)))), seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		one, many, none := &watcher{t: t}, &watcher{t: t}, &watcher{t: t}
		want := throughBody(t, awkward(), one, wire)
		if got := throughBody(t, awkward(), many, split(wire, seed)...); !bytes.Equal(got, want) {
			t.Fatalf("cut differently:\n%q\n%q", got, want)
		}
		if got := throughBody(t, nil, none, split(wire, seed)...); !bytes.Equal(got, wire) {
			t.Fatalf("without placeholders %q became %q", wire, got)
		}
		many.check(t, 0, usageOf(one), one.finishes...)
		none.check(t, 0, usageOf(one), one.finishes...)
		if got := throughBody(t, newVault("[NOT_HERE_1]", "x"), nil, split(wire, seed)...); !bytes.Equal(got, wire) {
			t.Fatalf("with nothing to restore %q became %q", wire, got)
		}
	})
}
