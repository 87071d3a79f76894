// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// vault maps placeholders to values. It returns a value in a buffer that the next
// call overwrites, as Placeholders allows, so that a kept reference shows as wrong
// text.
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

// replace is the slow model of restoring. Nested, the values are escaped for the
// inside of a JSON string.
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

// settled returns the part of an incomplete text that must be written: all but an end
// that is the beginning of a placeholder.
func (v *vault) settled(text string) string {
	for i := range len(text) {
		if text[i] == '[' && v.HasPrefix([]byte(text[i:])) && !strings.Contains(text[i:], "]") {
			return text[:i]
		}
	}
	return text
}

// inside returns a text as the inside of a JSON string, with the fewest escapes.
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

// awkward returns a vault of difficult values and names: quotes, backslashes, control
// characters, line ends, other scripts, values like placeholders, and a name that
// begins like another.
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

// seeds returns the number of random cases, of which a short run takes a fifth.
func seeds(n uint64) uint64 {
	if testing.Short() {
		return n / 5
	}
	return n
}

// watcher is an Observer that keeps all reports.
type watcher struct {
	t         testing.TB
	tokens    int
	usages    []Usage
	finishes  []bool
	responses []string
	tokenSeen func()
}

func (w *watcher) Response(id string) { w.responses = append(w.responses, id) }

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

// check compares the reports with those expected. usage nil: none.
func (w *watcher) check(t *testing.T, tokens int, usage *Usage, finishes ...bool) {
	t.Helper()
	if w.tokens != tokens {
		t.Errorf("first token reported %d times, want %d", w.tokens, tokens)
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
