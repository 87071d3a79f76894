// SPDX-License-Identifier: Apache-2.0

package prompt

import "bytes"

// ValueKind is the type of a JSON value.
type ValueKind uint8

// The kinds of values a Walker reports.
const (
	String ValueKind = iota + 1
	Number
	Bool
	Null
	Object
	Array
)

// Value is one value of a walked text.
type Value struct {
	// Start and End are raw offsets; of strings, what is between the quotes.
	Start, End int
	Kind       ValueKind
	// Escaped: a string with backslashes.
	Escaped bool
}

// Text returns a string value as a text that can be decoded.
func (v Value) Text() Text { return Text{Start: v.Start, End: v.End, Escaped: v.Escaped} }

// Walker reads any JSON value, an engine's answer for one, and visits the
// strings in it. Its memory is reused; the zero value is ready. Not safe for
// concurrent use.
type Walker struct {
	// Lenient lets pass what Python's json module writes although it is not
	// JSON: NaN and infinities, lone surrogates, duplicate keys. Answers should
	// be read so; requests never.
	Lenient bool

	tape  tape
	steps [MaxDepth]step
	depth int
	keys  []byte // decoded keys of the path that have escapes
}

// step is one container on the way to the current value.
type step struct {
	node  uint32 // the container
	key   uint32 // its member's key on the way; 0 when it is a list
	index int32  // its element's index on the way; -1 when it is an object
}

// Path is where the value being visited stands. It is valid during the visit.
type Path struct{ w *Walker }

// Walk calls visit for every string value of body, in body order, until it
// returns false. The error is an *Error, and nothing was visited then: body is
// read to its end first.
func (w *Walker) Walk(body []byte, visit func(p Path, v Value) bool) error {
	w.tape.lenient = w.Lenient
	w.depth = 0
	if err := w.tape.parse(body); err != nil {
		return err
	}
	nodes := w.tape.nodes
	for n := uint32(0); n < uint32(len(nodes)); n++ {
		for w.depth > 0 && n >= nodes[w.steps[w.depth-1].node].next {
			w.depth--
		}
		switch k := nodes[n].kind; k {
		case kindKey:
			w.steps[w.depth-1].key = n
			continue
		case kindString:
			w.element(n)
			if !visit(Path{w}, w.tape.describe(n)) {
				return nil
			}
		default:
			w.element(n)
			if k <= kindArray && nodes[n].next > n+1 {
				w.steps[w.depth] = step{node: n, index: -1}
				w.depth++
			}
		}
	}
	return nil
}

// element counts node n on when the innermost container is a list.
func (w *Walker) element(n uint32) {
	if w.depth == 0 {
		return
	}
	s, v := &w.steps[w.depth-1], &w.tape.nodes[n]
	if w.tape.nodes[s.node].kind != kindArray {
		return
	}
	s.index++
	if v.kind == kindNumber { // a run of them
		s.index += int32(bytes.Count(w.tape.body[v.start:v.end], comma))
	}
}

var comma = []byte{','}

// describe describes node n for the outside.
func (t *tape) describe(n uint32) Value {
	v := &t.nodes[n]
	kinds := [...]ValueKind{
		kindObject: Object, kindArray: Array, kindString: String, kindNumber: Number,
		kindTrue: Bool, kindFalse: Bool, kindNull: Null,
	}
	return Value{int(v.start), int(v.end), kinds[v.kind], v.escaped()}
}

// Len returns how many containers the value is inside of.
func (p Path) Len() int { return p.w.depth }

// Key returns the decoded key that leads on from container i (0: outermost),
// ok false when that is a list. The bytes are valid during the visit.
func (p Path) Key(i int) (key []byte, ok bool) {
	s := &p.w.steps[i]
	if s.key == 0 {
		return nil, false
	}
	return p.w.tape.keyText(s.key, &p.w.keys), true
}

// Index returns the index that leads on from container i, -1 when that is an
// object.
func (p Path) Index(i int) int { return int(p.w.steps[i].index) }

// Is reports whether the keys on the way, lists left out, are exactly these:
// `choices`, `delta`, `content` for {"choices":[{"delta":{"content":"..."}}]}.
func (p Path) Is(keys ...string) bool {
	n := 0
	for i := range p.w.depth {
		key, ok := p.Key(i)
		if !ok {
			continue
		}
		if n == len(keys) || string(key) != keys[n] {
			return false
		}
		n++
	}
	return n == len(keys)
}

// Member returns the member called key of container i, when that is an object
// that has one: the "index" beside a "delta", wherever it stands.
func (p Path) Member(i int, key string) (Value, bool) {
	t := &p.w.tape
	object := p.w.steps[i].node
	if t.nodes[object].kind != kindObject {
		return Value{}, false
	}
	for k := object + 1; k < t.nodes[object].next; k = t.nodes[k+1].next {
		if string(t.keyText(k, &p.w.keys)) == key {
			return t.describe(k + 1), true
		}
	}
	return Value{}, false
}

// Int returns the integer member called key of container i. ok is false when
// there is none, or when it is not an integer from 0 to 2^31-1.
func (p Path) Int(i int, key string) (n int, ok bool) {
	v, ok := p.Member(i, key)
	if !ok || v.Kind != Number || v.End-v.Start > 10 {
		return 0, false
	}
	for _, c := range p.w.tape.body[v.Start:v.End] {
		if c-'0' > 9 {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, n <= MaxSize
}

// Raw returns the bytes of v as they stand in the walked text.
func (p Path) Raw(v Value) []byte { return p.w.tape.body[v.Start:v.End] }
