// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// Cursor walks the texts of one Text: the string itself or, when it holds a JSON
// document, the strings of that document, decoded twice. Their spans lead back
// to the body, so that both levels stay well-formed when placeholders replace
// them. The zero value is ready. It is not safe for concurrent use.
//
//	for d := c.Open(body, t); d != nil; d = c.Next() { ... }
type Cursor struct {
	outer, inner Decoded
	tape         tape
	next         int
	loose        bool
	nested       bool
}

// Open starts over with t and returns its first text, or nil. The text is valid
// until the next call.
func (c *Cursor) Open(body []byte, t Text) *Decoded {
	t.Decode(body, &c.outer)
	c.nested = t.Nested && c.parse(t.Loose)
	if !c.nested {
		return &c.outer
	}
	c.next, c.loose = 0, t.Loose
	return c.Next()
}

// parse reads the decoded text as JSON, as leniently as engines do. A loose text
// is opened only when it has escapes; otherwise it is scanned as a whole, with
// its numbers.
func (c *Cursor) parse(loose bool) bool {
	text := c.outer.Bytes
	i := skipSpace(text, 0)
	if i == len(text) || text[i] != '{' && text[i] != '[' && text[i] != '"' {
		return false
	}
	if loose && bytes.IndexByte(text, '\\') < 0 {
		return false
	}
	c.tape.lenient = true
	return c.tape.parse(text) == nil
}

// Next returns the next text, or nil after the last one.
func (c *Cursor) Next() *Decoded {
	if !c.nested {
		return nil
	}
	for c.next < len(c.tape.nodes) {
		n := &c.tape.nodes[c.next]
		c.next++
		switch n.kind {
		case kindString, kindKey:
			if n.name != nameNone || n.start == n.end || isDataURL(c.outer.Bytes[n.start:n.end]) {
				continue
			}
		case kindNumber:
			if !c.loose {
				continue
			}
		default:
			continue
		}
		Text{Start: int(n.start), End: int(n.end), Escaped: n.escaped()}.DecodeInside(&c.outer, &c.inner)
		return &c.inner
	}
	return nil
}

// Wipe zeroes the decoded texts and drops the body.
func (c *Cursor) Wipe() {
	c.outer.Wipe()
	c.inner.Wipe()
	for _, b := range [...][]byte{c.tape.keys.plain, c.tape.keys.plain2} {
		sensitive.Wipe(b)
	}
	c.tape.body, c.tape.nodes, c.nested = nil, c.tape.nodes[:0], false
}

// MemorySize returns the bytes of memory that the cursor keeps between texts.
func (c *Cursor) MemorySize() int {
	return c.outer.MemorySize() + c.inner.MemorySize() + 16*cap(c.tape.nodes)
}
