// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"math"
	"slices"
)

// A body beyond these bounds is refused.
const (
	// MaxDepth is the deepest nesting of objects and lists.
	MaxDepth = 512
	// MaxSize is the longest body, in bytes: offsets have 32 bits.
	MaxSize = math.MaxInt32
	// MaxValues is the largest number of strings, keys, objects, lists and runs
	// of numbers. It bounds the memory for a body of many tiny values.
	MaxValues = 1 << 20
)

type kind uint8

const (
	kindObject kind = iota + 1
	kindArray
	kindString
	kindKey
	kindNumber // inside a list: a run of numbers
	kindTrue
	kindFalse
	kindNull
)

const (
	flagEscaped uint8 = 1 << iota // the string or key has a backslash
	flagDone                      // the string is listed or deliberately left out
	flagTaken                     // the key is that of a Taken
)

// node is one value or key of the body. Nodes are in body order: the content of a
// container follows it, and a member's value follows its key.
type node struct {
	// start and end are the raw offsets of the value, for strings and keys those
	// between the quotes.
	start, end uint32
	// next is the index of the node behind this one and its content.
	next  uint32
	kind  kind
	flags uint8
	name  name // of keys
}

func (n *node) escaped() bool { return n.flags&flagEscaped != 0 }

// tape is the structure of one JSON text, with 16 bytes a value. It does not copy
// the text. The next text reuses its memory.
type tape struct {
	body  []byte
	nodes []node
	keys  keySet
	depth int
	open  [MaxDepth]uint32 // the containers around the current position
	// lenient allows the extensions of Python's json module: duplicate keys, NaN
	// and infinities, lone surrogates.
	lenient bool
}

// parse reads body, which must be one JSON value, in a single pass.
func (t *tape) parse(body []byte) *Error {
	t.body, t.nodes, t.depth = body, t.nodes[:0], 0
	if len(body) > MaxSize {
		return ErrSize
	}
	if isForeignEncoding(body) {
		return ErrEncoding
	}
	i, err := skipSpace(body, 0), (*Error)(nil)
	for opened := false; ; {
		if opened, i, err = t.value(i); err != nil {
			return err
		}
		if !opened {
			if i, err = t.unwind(i); err != nil {
				return err
			}
			if t.depth == 0 {
				return t.checkEnd(i)
			}
		}
		if t.nodes[t.open[t.depth-1]].kind == kindObject {
			if i, err = t.key(i); err != nil {
				return err
			}
		}
	}
}

// isForeignEncoding recognizes byte order marks, and UTF-16 and UTF-32 by a zero
// byte among the first two (RFC 4627, section 3).
func isForeignEncoding(b []byte) bool {
	switch {
	case len(b) < 2:
		return false
	case b[0] == 0 || b[1] == 0:
		return true
	case b[0] == 0xFE && b[1] == 0xFF, b[0] == 0xFF && b[1] == 0xFE:
		return true
	}
	return len(b) > 2 && b[0] == 0xEF && b[1] == 0xBB && b[2] == 0xBF
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// value reads the value at i. opened: it is a container that is not empty, and
// next is the offset of its first key or element.
func (t *tape) value(i int) (opened bool, next int, err *Error) {
	b := t.body
	if i >= len(b) {
		return false, i, ErrSyntax
	}
	if len(t.nodes) >= MaxValues {
		return false, i, ErrValues
	}
	switch c := b[i]; c {
	case '"':
		end, escaped, err := scanString(b, i+1, t.lenient)
		if err != nil {
			return false, i, err
		}
		t.add(kindString, i+1, end, escaped)
		return false, end + 1, nil
	case '{':
		return t.push(kindObject, i, '}')
	case '[':
		return t.push(kindArray, i, ']')
	}
	return t.scalar(i)
}

// add appends a node. It writes the fields in place, because it is the hottest
// code for bodies with many small values.
func (t *tape) add(k kind, start, end int, escaped bool) *node {
	n := len(t.nodes)
	if n == cap(t.nodes) {
		t.nodes = slices.Grow(t.nodes, n/2+64)
	}
	t.nodes = t.nodes[:n+1]
	v := &t.nodes[n]
	v.start, v.end, v.next = uint32(start), uint32(end), uint32(n+1)
	v.kind, v.flags, v.name = k, 0, nameNone
	if escaped {
		v.flags = flagEscaped
	}
	return v
}

// push opens the container at i, and closes it again when it is empty.
func (t *tape) push(k kind, i int, closing byte) (opened bool, next int, err *Error) {
	if t.depth == MaxDepth {
		return false, i, ErrDepth
	}
	at := uint32(len(t.nodes))
	t.add(k, i, i+1, false)
	if i = skipSpace(t.body, i+1); i < len(t.body) && t.body[i] == closing {
		t.nodes[at].end = uint32(i + 1)
		return false, i + 1, nil
	}
	t.open[t.depth] = at
	t.depth++
	return true, i, nil
}

// key reads the key at i and the colon, and returns the offset of the value.
func (t *tape) key(i int) (int, *Error) {
	b := t.body
	if i >= len(b) || b[i] != '"' {
		return i, ErrSyntax
	}
	end, escaped, err := scanString(b, i+1, t.lenient)
	if err != nil {
		return i, err
	}
	if len(t.nodes) >= MaxValues {
		return i, ErrValues
	}
	n := t.add(kindKey, i+1, end, escaped)
	if escaped {
		n.name = t.keys.lookupEscaped(b[i+1 : end])
	} else {
		n.name = lookup(b[i+1 : end])
	}
	if i = skipSpace(b, end+1); i >= len(b) || b[i] != ':' {
		return i, ErrSyntax
	}
	return skipSpace(b, i+1), nil
}

// unwind continues behind a value: it closes the containers that end here and
// skips the comma before the next key or element. The depth is 0 when the
// outermost value is complete.
func (t *tape) unwind(i int) (int, *Error) {
	b := t.body
	for t.depth > 0 {
		if i = skipSpace(b, i); i >= len(b) {
			return i, ErrSyntax
		}
		top := t.open[t.depth-1]
		object := t.nodes[top].kind == kindObject
		switch c := b[i]; {
		case c == ',':
			return skipSpace(b, i+1), nil
		case c == '}' && object, c == ']' && !object:
			i++
			t.nodes[top].end = uint32(i)
			t.nodes[top].next = uint32(len(t.nodes))
			if object && !t.lenient && !t.unique(top) {
				return i, ErrDuplicateKey
			}
			t.depth--
		default:
			return i, ErrSyntax
		}
	}
	return i, nil
}

// checkEnd allows only white space behind the outermost value.
func (t *tape) checkEnd(i int) *Error {
	if skipSpace(t.body, i) != len(t.body) {
		return ErrSyntax
	}
	return nil
}

// scalar reads a number or literal. Consecutive numbers of a list become one
// node, so that token ids and vectors take no memory.
func (t *tape) scalar(i int) (bool, int, *Error) {
	b := t.body
	var k kind
	end := i
	switch b[i] {
	case 't':
		k, end = kindTrue, literal(b, i, "true")
	case 'f':
		k, end = kindFalse, literal(b, i, "false")
	case 'n':
		k, end = kindNull, literal(b, i, "null")
	default:
		k, end = kindNumber, number(b, i)
		if end == i && t.lenient {
			end = nonFinite(b, i)
		}
	}
	if end == i {
		return false, i, ErrSyntax
	}
	if last := len(t.nodes) - 1; k == kindNumber && last > 0 && t.nodes[last].kind == kindNumber &&
		t.nodes[t.open[t.depth-1]].kind == kindArray && t.continuesList(last) {
		t.nodes[last].end = uint32(end)
		return false, end, nil
	}
	t.add(k, i, end, false)
	return false, end, nil
}

// continuesList reports whether the last node n is an element of the innermost
// open list, and not of a container that is closed again.
func (t *tape) continuesList(n int) bool {
	// The end of a closed container follows its last node.
	return t.body[skipSpace(t.body, int(t.nodes[n].end))] == ','
}

func literal(b []byte, i int, word string) int {
	if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
		return i + len(word)
	}
	return i
}

// nonFinite returns the end of the float at i in Python's spelling, or i.
func nonFinite(b []byte, i int) int {
	for _, w := range [...]string{"NaN", "Infinity", "-Infinity"} {
		if end := literal(b, i, w); end != i {
			return end
		}
	}
	return i
}

// number returns the end of the number at i (RFC 8259 section 6), or i.
func number(b []byte, i int) int {
	start := i
	if i < len(b) && b[i] == '-' {
		i++
	}
	whole := digits(b, i)
	if whole == i || b[i] == '0' && whole > i+1 {
		return start
	}
	i = whole
	if i < len(b) && b[i] == '.' {
		frac := digits(b, i+1)
		if frac == i+1 {
			return start
		}
		i = frac
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		exp := digits(b, i)
		if exp == i {
			return start
		}
		i = exp
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}
