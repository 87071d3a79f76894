// SPDX-License-Identifier: Apache-2.0

// Package pii finds personal data and secrets in text: text in, spans out.
//
// A Scanner is immutable and safe for concurrent use; Scan is a pure function
// of (options, text), so the same text gives the same spans on every
// goroutine, replica and restart. It does not allocate on clean text.
//
// Numbers that look like many other things need a word beside them ("routing
// number", "born"), check digits or both. A text that is a number and nothing
// else is an answer to a question or a field of a form, and counts as the kind
// that it looks like.
//
// A recognizer is one file of its own name and one line in the table of
// recognizers.go. Its row holds the label, the context words, the written
// forms, the validator and examples; a number with check digits needs no more,
// and the examples test says when a form is not found. A recognizer with a
// finder of its own is called from trigger.go, where digits, words, tokens,
// colons and "@" are handed out.
//
// The scan has two speeds. A pass of class masks, eight bytes at a time, finds
// the few positions where anything could begin (a run of digits, an "@", an
// assignment, a long token); hand-written verifiers with check digits, country
// tables and context words decide there. A verifier reads no further than a
// fixed distance, or remembers how far it has read, so the work is linear in
// the size of any text.
//
// Tests stand beside the files they test. Those of all recognizers together
// are recognizers_test.go (the examples of every row), property_test.go,
// work_test.go, corpus_test.go and shared_test.go; slowest_test.go searches for
// texts that make the scan slow.
package pii

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Entity is the label of a kind of finding in placeholders and metrics:
// upper-case letters, digits and underscores only.
type Entity string

// Secret reports whether values of this entity are credentials. They are never
// restored into answers unless the entity is named explicitly.
func (e Entity) Secret() bool {
	return e == EntitySecret || e == EntityJWT || e == EntityPrivateKey
}

// Span is one finding: the bytes text[Start:End]. Offsets are in bytes and on
// rune boundaries of the text as it was given.
type Span struct {
	Start, End int
	Entity     Entity
}

// Recognizer is a guest: a finder of one entity that another module plugs in,
// where rules are not enough (names, addresses). Find appends the spans it
// finds in text to dst and returns it. It must be pure and safe for concurrent
// use, and must keep neither slice. The Scanner drops spans out of range and
// widens those that split a rune.
type Recognizer interface {
	Name() string
	Entity() Entity
	Find(text []byte, dst []Span) []Span
}

// Options configure a Scanner. The zero value is the default set.
type Options struct {
	// Recognizers chooses among the built-in and guest recognizers by name.
	// Plain names replace the default set, "+NAME" adds to it and "-NAME"
	// removes from it, in the order given; plain names must come first.
	Recognizers []string

	// Patterns are the user's own: name to RE2 expression. The entity is the
	// name in upper case, with "_" for "-".
	Patterns map[string]string

	// Allow lists values that are never findings. They are compared exactly
	// with the bytes found, e-mail addresses without regard to case.
	Allow []string

	// Guests are the recognizers of other modules; all are on unless Recognizers
	// names a set without them.
	Guests []Recognizer
}

// Info describes a built-in recognizer.
type Info struct {
	Name    string // as in Options.Recognizers
	Entity  Entity // the label of its findings
	Default bool   // in the default set
	Secret  bool   // finds credentials, see Entity.Secret
	Doc     string // the values, how they are validated, and the source
}

// List returns the built-in recognizers sorted by name.
func List() []Info {
	list := make([]Info, 0, len(recognizers))
	for _, b := range recognizers {
		list = append(list, Info{Name: b.name, Entity: b.entity, Default: !b.off, Secret: b.entity.Secret(), Doc: b.doc})
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Scanner finds the values of the recognizers in its Options. Make one with New.
type Scanner struct {
	on       recognizerSet
	allow    map[string]struct{} // exact values
	allowLow map[string]struct{} // e-mail addresses in lower case
	patterns []pattern
	guests   []Recognizer
}

// New makes a Scanner. Errors name the option and the recognizer or pattern
// name at fault, never a pattern's text.
func New(o Options) (*Scanner, error) {
	s := &Scanner{on: defaultSet()}
	if err := s.choose(o); err != nil {
		return nil, err
	}
	if err := s.compile(o.Patterns); err != nil {
		return nil, err
	}
	if len(o.Allow) > 0 {
		s.allow = make(map[string]struct{}, len(o.Allow))
		s.allowLow = make(map[string]struct{}, len(o.Allow))
		for _, v := range o.Allow {
			if v == "" {
				return nil, errors.New("allow: empty value")
			}
			s.allow[v] = struct{}{}
			s.allowLow[strings.ToLower(v)] = struct{}{}
		}
	}
	return s, nil
}

// choose applies Options.Recognizers to the built-ins and the guests.
func (s *Scanner) choose(o Options) error {
	guests := make(map[string]Recognizer, len(o.Guests))
	var names []string
	for _, g := range o.Guests {
		name := g.Name()
		if name == "" || builtinByName(name) != nil || guests[name] != nil {
			return fmt.Errorf("recognizers: guest name %q is empty or taken", name)
		}
		if !validEntity(g.Entity()) {
			return fmt.Errorf("recognizers: guest %q: the entity must be of A-Z, 0-9 and _", name)
		}
		guests[name] = g
		names = append(names, name)
	}
	chosen := make(map[string]bool, len(guests))
	for name := range guests {
		chosen[name] = true
	}
	for i, arg := range o.Recognizers {
		name, add := arg, true
		switch {
		case strings.HasPrefix(arg, "+"):
			name = arg[1:]
		case strings.HasPrefix(arg, "-"):
			name, add = arg[1:], false
		case i == 0:
			s.on = 0
			clear(chosen)
		case strings.HasPrefix(o.Recognizers[0], "+"), strings.HasPrefix(o.Recognizers[0], "-"):
			return fmt.Errorf("recognizers: %q: plain names must come before +NAME and -NAME", name)
		}
		if b := builtinByName(name); b != nil {
			if s.on &^= b.bit; add {
				s.on |= b.bit
			}
		} else if guests[name] != nil {
			chosen[name] = add
		} else {
			return fmt.Errorf("recognizers: unknown recognizer %q", name)
		}
	}
	for _, name := range names {
		if chosen[name] {
			s.guests = append(s.guests, guests[name])
		}
	}
	return nil
}

// validEntity reports whether e can stand in a placeholder.
func validEntity(e Entity) bool {
	if e == "" || len(e) > 40 {
		return false
	}
	for i := range len(e) {
		if c := e[i]; c != '_' && !isDigit(c) && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// Scan appends the findings in text to dst: sorted by Start, not overlapping,
// on rune boundaries. Text need not be valid UTF-8.
func (s *Scanner) Scan(text []byte, dst []Span) []Span {
	from := len(dst)
	r := scan{Scanner: s, text: text, out: dst}
	r.run()
	if len(s.patterns) > 0 || len(s.guests) > 0 {
		r.extras()
	}
	out := r.out
	if len(out) > from {
		out = s.rescanEdges(text, s.settle(text, out, from), from, &r.work)
	}
	if reportWork != nil {
		reportWork(r.work + len(text))
	}
	return out
}
