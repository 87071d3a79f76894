// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// scanner makes a Scanner or fails the test.
func scanner(t testing.TB, o Options) *Scanner {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return s
}

// found scans text and writes the findings as "ENTITY:value" in order.
func found(s *Scanner, text string) []string {
	var list []string
	for _, sp := range s.Scan([]byte(text), nil) {
		list = append(list, fmt.Sprintf("%s:%s", sp.Entity, text[sp.Start:sp.End]))
	}
	return list
}

// finding is one case: a text and the findings wanted in it.
type finding struct {
	text string
	want []string
}

// checkFindings runs cases through the default set.
func checkFindings(t *testing.T, cases []finding) {
	t.Helper()
	s := scanner(t, Options{})
	for _, c := range cases {
		if got := found(s, c.text); !slices.Equal(got, c.want) {
			t.Errorf("%q:\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

func TestScanSeveral(t *testing.T) {
	token := "gh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
	checkFindings(t, []finding{
		{"", nil},
		{"nothing to see here, move along", nil},
		{"mail bob@example.com from 8.8.8.8, card 4012-8888-8888-1881",
			[]string{"EMAIL:bob@example.com", "IP:8.8.8.8", "CARD:4012-8888-8888-1881"}},
		{"4012888888881881 4012 8888 8888 1881", []string{"CARD:4012888888881881", "CARD:4012 8888 8888 1881"}},
		{strings.Repeat("x ", 100) + token, []string{"SECRET:" + token}},
		{"[EMAIL_1] [CARD_7f3a9c] [REDACTED] and [SECRET_12]", nil},
	})
}

func TestListIsSortedAndDocumented(t *testing.T) {
	list := List()
	if !slices.IsSortedFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not sorted by name")
	}
	for _, info := range list {
		if info.Name == "" || !validEntity(info.Entity) || len(info.Doc) < 30 {
			t.Errorf("%+v: incomplete", info)
		}
		if info.Secret != info.Entity.Secret() {
			t.Errorf("%s: Secret is %v, its entity says %v", info.Name, info.Secret, info.Entity.Secret())
		}
	}
}

func TestOptions(t *testing.T) {
	text := "bob@example.com 8.8.8.8 10.1.2.3"
	for _, c := range []struct {
		names []string
		want  []string
	}{
		{nil, []string{"EMAIL:bob@example.com", "IP:8.8.8.8"}},
		{[]string{"email"}, []string{"EMAIL:bob@example.com"}},
		{[]string{"-email"}, []string{"IP:8.8.8.8"}},
		{[]string{"+ip_private", "-ip"}, []string{"EMAIL:bob@example.com", "IP:10.1.2.3"}},
		{[]string{"email", "+ip"}, []string{"EMAIL:bob@example.com", "IP:8.8.8.8"}},
	} {
		s := scanner(t, Options{Recognizers: c.names})
		if got := found(s, text); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.names, got, c.want)
		}
	}
	for _, o := range []Options{
		{Recognizers: []string{"emial"}},
		{Recognizers: []string{"+email", "ip"}},
		{Recognizers: []string{""}},
		{Allow: []string{""}},
		{Patterns: map[string]string{"x y": "abc"}},
		{Patterns: map[string]string{"x": "("}},
		{Patterns: map[string]string{"x": ".*"}},
		{Patterns: map[string]string{"x": "a?|b"}},
		{Patterns: map[string]string{"x": "(a{100}){100}b"}},
		{Patterns: map[string]string{"x": strings.Repeat("a", maxPatternText+1)}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// names is a guest that finds one name and some nonsense.
type names struct{}

func (names) Name() string   { return "names" }
func (names) Entity() Entity { return "PERSON" }
func (names) Find(text []byte, dst []Span) []Span {
	if i := strings.Index(string(text), "Zoë"); i >= 0 {
		dst = append(dst, Span{i, i + 3, "WRONG"}) // splits the last rune
	}
	return append(dst, Span{-1, 3, ""}, Span{5, 2, ""}, Span{0, len(text) + 1, ""})
}

func TestGuests(t *testing.T) {
	s := scanner(t, Options{Guests: []Recognizer{names{}}})
	if got := found(s, "hello Zoë!"); !slices.Equal(got, []string{"PERSON:Zoë"}) {
		t.Errorf("got %q", got)
	}
	s = scanner(t, Options{Guests: []Recognizer{names{}}, Recognizers: []string{"-names"}})
	if got := found(s, "hello Zoë!"); got != nil {
		t.Errorf("switched off: got %q", got)
	}
	if _, err := New(Options{Guests: []Recognizer{names{}, names{}}}); err == nil {
		t.Error("two guests of one name: no error")
	}
}
