// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// vault is a plain map of placeholders to values. It hands out its values in a
// scratch buffer that it overwrites at the next call, as the contract allows,
// so that a kept reference shows as a wrong text.
type vault struct {
	values  map[string]string
	scratch []byte
}

func newVault(pairs ...string) *vault {
	v := &vault{values: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		v.values[pairs[i]] = pairs[i+1]
	}
	return v
}

func (v *vault) Value(placeholder []byte) ([]byte, bool) {
	for i := range v.scratch {
		v.scratch[i] = '!'
	}
	value, ok := v.values[string(placeholder)]
	v.scratch = append(v.scratch[:0], value...)
	return v.scratch, ok
}

func (v *vault) HasPrefix(tail []byte) bool {
	for p := range v.values {
		if len(tail) <= len(p) && p[:len(tail)] == string(tail) {
			return true
		}
	}
	return false
}

func (v *vault) Len() int { return len(v.values) }

// replace is the slow obvious model of restoring: every placeholder in the
// text is replaced; nested: by its value as the inside of a JSON string.
func (v *vault) replace(text string, nested bool) string {
	names := make([]string, 0, len(v.values))
	for name := range v.values {
		names = append(names, name)
	}
	slices.Sort(names)
	var pairs []string
	for _, name := range names {
		value := v.values[name]
		if nested {
			value = inside(value)
		}
		pairs = append(pairs, name, value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// settled is what of a text must have left when no more of it has come: all
// but the longest end that is the beginning of a placeholder.
func (v *vault) settled(text string) string {
	for i := range len(text) {
		if text[i] == '[' && v.HasPrefix([]byte(text[i:])) && !strings.Contains(text[i:], "]") {
			return text[:i]
		}
	}
	return text
}

// inside spells a text as the inside of a JSON string, with no more escapes than
// JSON demands.
func inside(text string) string {
	var b bytes.Buffer
	for _, r := range text {
		switch i := strings.IndexRune("\"\\\n\r\t\b\f", r); {
		case i >= 0:
			b.WriteByte('\\')
			b.WriteByte("\"\\nrtbf"[i])
		case r < 0x20:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// awkward is a vault of values and names that are easy to get wrong: quotes,
// backslashes, control and line characters, other scripts, values that look
// like placeholders, names of which one begins like another.
func awkward() *vault {
	return newVault(
		"[EMAIL_1]", "ada@example.org",
		"[EMAIL_10]", "second\"quote@example.org",
		"[EMAIL_2]", "[EMAIL_1]",
		"[SECRET_1]", "back\\slash\\\\and \"quotes\"\n\ttab\x01\x7f\u2028",
		"[NAME_1]", "Zoë Ωmega 李雷 😀",
		"[EMPTY_1]", "",
		"[KEYED_7f3a9c]", "data: [DONE]\r\n\r\n",
		"[URL_1]", `https://u:p@h/\u0041?a="b"`,
	)
}

// watcher notes what an Observer is told.
type watcher struct {
	t         testing.TB
	tokens    int
	usages    []Usage
	finishes  []bool
	tokenSeen func()
}

func (w *watcher) FirstToken() {
	w.tokens++
	if w.tokenSeen != nil {
		w.tokenSeen()
	}
}

func (w *watcher) Usage(u Usage) {
	if len(w.finishes) > 0 {
		w.t.Error("Usage after Finish")
	}
	w.usages = append(w.usages, u)
}

func (w *watcher) Finish(toolCalls bool) { w.finishes = append(w.finishes, toolCalls) }

// check tells what an answer made of the observer. usage nil: none reported.
func (w *watcher) check(t *testing.T, tokens int, usage *Usage, finishes ...bool) {
	t.Helper()
	if w.tokens != tokens {
		t.Errorf("first token told %d times, want %d", w.tokens, tokens)
	}
	switch {
	case usage == nil && len(w.usages) > 0:
		t.Errorf("usage %+v, want none", w.usages)
	case usage != nil && (len(w.usages) != 1 || w.usages[0] != *usage):
		t.Errorf("usage %+v, want %+v", w.usages, *usage)
	}
	if !slices.Equal(w.finishes, finishes) {
		t.Errorf("finish %v, want %v", w.finishes, finishes)
	}
}
