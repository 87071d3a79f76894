// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

// feedAll restores the inside of a string in pieces.
func feedAll(v *vault, nested bool, pieces ...string) string {
	var out bytes.Buffer
	s := sink{w: &out}
	r := restorer{placeholders: v}
	var held tail
	for _, piece := range pieces {
		r.feed(&s, &held, []byte(piece), false, nested)
	}
	r.feed(&s, &held, nil, true, nested)
	s.flush()
	return out.String()
}

func decode(t *testing.T, quoted string) string {
	t.Helper()
	var text string
	if err := json.Unmarshal([]byte(`"`+quoted+`"`), &text); err != nil {
		t.Fatalf("%v: %q", err, quoted)
	}
	return text
}

// Restoring equals replacing in the decoded text, for any spelling and any cuts
// between characters.
func TestRestoreGolden(t *testing.T) {
	v := awkward()
	for seed := range seeds(3000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		text := randomText(rng, false)
		spell := []func(*rand.Rand, string) string{quotePlain, quoteASCII, quoteRandom}[rng.IntN(3)]
		var pieces []string
		for rest := text; rest != ""; {
			n := fragment(rng, rest)
			quoted := spell(rng, rest[:n])
			pieces, rest = append(pieces, quoted[1:len(quoted)-1]), rest[n:]
		}
		for _, nested := range []bool{false, true} {
			got := feedAll(v, nested, pieces...)
			if text, want := decode(t, got), v.replace(text, nested); text != want {
				t.Fatalf("seed %d: %q gives %q, want %q", seed, pieces, text, want)
			}
			if whole := feedAll(v, nested, strings.Join(pieces, "")); whole != got {
				t.Fatalf("seed %d: %q gives %q in one piece, %q in many", seed, pieces, whole, got)
			}
		}
	}
}

// A value of all characters survives one level of JSON and two.
func TestRestoreEscapes(t *testing.T) {
	var all strings.Builder
	for r := range rune(0x180) {
		all.WriteRune(r)
	}
	all.WriteString("\u2028\u2029\ufeff😀\\u0041\\\\\"\"")
	v := newVault("[X_1]", all.String())
	if got := decode(t, feedAll(v, false, "[X_1]")); got != all.String() {
		t.Errorf("once: %q", got)
	}
	inner := decode(t, feedAll(v, true, `{\"a\":\"[X_1]\"}`))
	var arguments struct{ A string }
	if err := json.Unmarshal([]byte(inner), &arguments); err != nil || arguments.A != all.String() {
		t.Errorf("twice: %v, %q", err, arguments.A)
	}
}

func TestRestoreNames(t *testing.T) {
	longest := "[" + strings.Repeat("A", MaxPlaceholder-2) + "]"
	longer := "[" + strings.Repeat("A", MaxPlaceholder-1) + "]"
	v := newVault(longest, "fits", longer, "too long", "[E_1]", "one", "[E_10]", "ten", "[a-b_1]", "guest")
	escaped := func(s string) string {
		var b strings.Builder
		for _, ch := range []byte(s) {
			b.WriteString(`\u00` + string(hexDigits[ch>>4]) + strings.ToUpper(string(hexDigits[ch&15])))
		}
		return b.String()
	}
	for _, c := range [][2]string{
		{longest, "fits"}, {longer, longer}, {escaped(longest), "fits"}, {escaped(longer), escaped(longer)},
		{"[E_1][E_10][E_100]", "oneten[E_100]"}, {"[[E_1]]", "[one]"}, {"[E_1[E_1]", "[E_1one"}, {"[E_[E_1", "[E_[E_1"},
		{`\\u005bE_1]`, `\\u005bE_1]`}, {`\u005bE_1]`, `one`}, {`[E\u005f1\u005D`, `one`}, {`[E\n_1]`, `[E\n_1]`},
		{`[E_1\\]`, `[E_1\\]`}, {"[e_1]", "[e_1]"}, {"[E_1 ]", "[E_1 ]"}, {"[a-b_1]", "guest"}, {"[E_1\xff]", "[E_1\xff]"},
		{`\u015bE_1]`, `\u015bE_1]`}, {`[E_\ud83d\ude001]`, `[E_\ud83d\ude001]`}, {"[]", "[]"}, {"", ""},
	} {
		if got := feedAll(v, false, c[0]); got != c[1] {
			t.Errorf("%.60q gives %.60q, want %.60q", c[0], got, c[1])
		}
		for i := range c[0] {
			if escapeLen([]byte(c[0][i:])) == 0 && !strings.Contains(c[0], `\`) {
				if got := feedAll(v, false, c[0][:i], c[0][i:]); got != c[1] {
					t.Errorf("%.60q cut at %d gives %.60q", c[0], i, got)
				}
			}
		}
	}
}

// No text makes the restorer read it again and again.
func TestRestoreLinear(t *testing.T) {
	v := newVault("["+strings.Repeat("A", 60)+"_1]", "x")
	counting := &countingVault{vault: v}
	for _, unit := range []string{"[", `\u005b`, "[" + strings.Repeat("A", 60), "]", `\\`, "[A]", `[\u0041`} {
		text := []byte(strings.Repeat(unit, 1<<20/len(unit)))
		var out bytes.Buffer
		s, r, held := sink{w: &out}, restorer{placeholders: counting}, tail{}
		counting.bytes = 0
		r.feed(&s, &held, text, true, false)
		s.flush()
		if !bytes.Equal(out.Bytes(), text) {
			t.Errorf("%q repeated is changed", unit)
		}
		if counting.bytes > len(text) {
			t.Errorf("%q repeated: %d bytes looked up in %d", unit, counting.bytes, len(text))
		}
	}
}

type countingVault struct {
	*vault
	bytes int
}

func (v *countingVault) Value(p []byte) ([]byte, bool) {
	v.bytes += len(p)
	return v.vault.Value(p)
}
