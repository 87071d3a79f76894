// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Bounds of the user's own patterns. RE2 is linear in the text, but its
// constant grows with the program; the caps keep one pattern from taking the
// whole budget.
const (
	maxPatterns       = 64
	maxPatternText    = 2048
	maxPatternProgram = 2000 // instructions of the compiled program
)

// pattern is one of the user's own recognizers.
type pattern struct {
	entity Entity
	re     *regexp.Regexp
}

// compile checks and compiles the user's patterns, in the order of their
// names so that two equal configurations behave the same.
func (s *Scanner) compile(patterns map[string]string) error {
	if len(patterns) > maxPatterns {
		return fmt.Errorf("pattern: more than %d patterns", maxPatterns)
	}
	names := make([]string, 0, len(patterns))
	for name := range patterns {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		entity := patternEntity(name)
		if !validEntity(entity) {
			return fmt.Errorf("pattern: %q is no name: letters, digits, - and _ only, 40 at most", name)
		}
		re, why := compilePattern(patterns[name])
		if why != "" {
			return fmt.Errorf("pattern %q: %s", name, why)
		}
		s.patterns = append(s.patterns, pattern{entity, re})
	}
	return nil
}

// compilePattern returns the compiled pattern or a fixed text saying why not.
func compilePattern(text string) (*regexp.Regexp, string) {
	if len(text) > maxPatternText {
		return nil, fmt.Sprintf("longer than %d bytes", maxPatternText)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, "not a valid RE2 expression"
	}
	if !needsSomething(tree) {
		return nil, "must require at least one literal or character class"
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil || len(prog.Inst) > maxPatternProgram {
		return nil, "compiles to too large a program"
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, "not a valid RE2 expression"
	}
	return re, ""
}

// needsSomething reports whether every match of the expression contains a
// literal or a character from a class; ".*" and "a?" do not.
func needsSomething(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpLiteral, syntax.OpCharClass:
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return needsSomething(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min > 0 && needsSomething(re.Sub[0])
	case syntax.OpConcat:
		return slices.ContainsFunc(re.Sub, needsSomething)
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !needsSomething(sub) {
				return false
			}
		}
		return true
	}
	return false
}

// patternEntity makes a pattern's name its label.
func patternEntity(name string) Entity {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case isLower(c):
			b.WriteByte(c - 0x20)
		case isUpper(c), isDigit(c), c == '_':
			b.WriteByte(c)
		case c == '-':
			b.WriteByte('_')
		default:
			return ""
		}
	}
	return Entity(b.String())
}

// extras runs the user's patterns and the guests. Findings inside placeholders
// are dropped later, by settle.
func (r *scan) extras() {
	for _, p := range r.patterns {
		for _, m := range p.re.FindAllIndex(r.text, -1) {
			if m[1] > m[0] {
				r.add(m[0], m[1], p.entity)
			}
		}
	}
	for _, g := range r.guests {
		from := len(r.out)
		found := g.Find(r.text, r.out[from:from:from])
		for _, sp := range found {
			if sp.Start >= 0 && sp.Start < sp.End && sp.End <= len(r.text) {
				r.add(sp.Start, sp.End, g.Entity())
			}
		}
	}
}
