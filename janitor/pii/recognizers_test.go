// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// marked returns an example without its « and », and the values between them.
func marked(example string) (text string, values []string) {
	for rest := example; ; {
		before, behind, found := strings.Cut(rest, "«")
		text += before
		if !found {
			return text, values
		}
		value, behind, _ := strings.Cut(behind, "»")
		text += value
		values = append(values, value)
		rest = behind
	}
}

// TestExamples scans the examples of every recognizer, with it alone and with
// the default set beside it.
func TestExamples(t *testing.T) {
	for _, b := range recognizers {
		if len(b.match) == 0 || len(b.noMatch) == 0 {
			t.Errorf("%s: has no match or no noMatch", b.name)
		}
		for _, names := range [][]string{{b.name}, {"+" + b.name}} {
			s := scanner(t, Options{Recognizers: names})
			for _, example := range b.match {
				text, want := marked(example)
				for i := range want {
					want[i] = string(b.entity) + ":" + want[i]
				}
				if got := found(s, text); len(want) == 0 || !slices.Equal(got, want) {
					t.Errorf("%s: %q: got %q, want %q", names, text, got, want)
				}
			}
			for _, text := range b.noMatch {
				if got := found(s, text); got != nil {
					t.Errorf("%s: %q: got %q, want nothing", names, text, got)
				}
			}
		}
	}
}

// TestTableIsComplete checks what the table promises of its rows.
func TestTableIsComplete(t *testing.T) {
	for i, b := range recognizers {
		if b.bit != 1<<i || builtinByName(b.name) != b {
			t.Errorf("%s: in the table twice", b.name)
		}
		if _, err := os.Stat(b.name + ".go"); err != nil {
			t.Errorf("%s: no file of this name", b.name)
		}
		if (b.groups != "" || b.patterns != "") != (b.valid != nil) {
			t.Errorf("%s: has written forms without a validator, or the reverse", b.name)
		}
		if b.valid != nil && b.words == 0 {
			t.Errorf("%s: a number without context words", b.name)
		}
	}
}
