// SPDX-License-Identifier: Apache-2.0

package prompt

import "bytes"

// addText lists the string or key node n as a text with the traits of t, unless it
// is empty, a `data:` URL, listed already or left out.
func (d *Document) addText(n uint32, t Text) {
	v := &d.tape.nodes[n]
	if v.flags&flagDone != 0 {
		return
	}
	v.flags |= flagDone
	if v.start == v.end || isDataURL(d.Body[v.start:v.end]) {
		return
	}
	t.Start, t.End = int(v.start), int(v.end)
	t.Escaped, t.Item = v.escaped(), d.item
	d.Texts = append(d.Texts, t)
}

// sweep lists the remaining strings of the nodes [from, to), and every key that is
// not a well-known name. So unknown members are scrubbed too.
func (d *Document) sweep(from, to uint32) {
	nodes := d.tape.nodes
	for n := from; n < to; n++ {
		v := &nodes[n]
		switch v.kind {
		case kindString:
			if v.flags&flagDone != 0 {
				continue
			}
			if nodes[n-min(n, 1)].name == nameType && isWord(d.Body[v.start:v.end]) {
				v.flags |= flagDone
				continue
			}
			d.addText(n, Text{})
		case kindKey:
			if v.name == nameNone && v.flags&flagDone == 0 {
				d.addText(n, Text{Key: true})
			}
		}
	}
}

// sweepNode sweeps node n and its content. Node 0 is none.
func (d *Document) sweepNode(n uint32) {
	if n != 0 {
		d.sweep(n, d.tape.nodes[n].next)
	}
}

// skipID leaves out the strings in and below node n that look like an identifier
// or a constant of the API. The sweep lists the others: a member's name alone
// does not hide text from the scrubber.
func (d *Document) skipID(n uint32) { d.skip(n, isIdentifier) }

// skipOpaque leaves out base64 strings in and below node n: media, and encrypted
// reasoning.
func (d *Document) skipOpaque(n uint32) { d.skip(n, isBase64) }

func (d *Document) skip(n uint32, harmless func([]byte) bool) {
	if n == 0 {
		return
	}
	for end := d.tape.nodes[n].next; n < end; n++ {
		v := &d.tape.nodes[n]
		if v.kind == kindString && v.flags&flagDone == 0 && harmless(d.Body[v.start:v.end]) {
			v.flags |= flagDone
		}
	}
}

// Character classes of the raw bytes between the quotes.
const (
	classWord       uint8 = 1 << iota // a-z _
	classIdentifier                   // letters, digits and the separators of ids
	classBase64                       // both alphabets and padding
	classMIME                         // a data URL before its comma
)

var classes = func() (t [256]uint8) {
	set := func(chars string, class uint8) {
		for i := range len(chars) {
			t[chars[i]] |= class
		}
	}
	lower, upper, digit := "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	set(lower+"_", classWord)
	set(lower+upper+digit+"_-.:|/+=", classIdentifier)
	set(lower+upper+digit+"+/-_=", classBase64)
	set(lower+upper+digit+"+/-_=.;", classMIME)
	return t
}()

// The lengths in raw bytes of the longest constant and the longest identifier.
const (
	longestWord       = 192
	longestIdentifier = 1024
)

// isWord reports whether raw is a constant such as "string" or "input_text".
func isWord(raw []byte) bool {
	return len(raw) <= longestWord && allOf(raw, classWord)
}

func isIdentifier(raw []byte) bool {
	return len(raw) <= longestIdentifier && allOf(raw, classIdentifier)
}

// isBase64 reports whether all of raw is base64 of either alphabet.
func isBase64(raw []byte) bool { return allOf(raw, classBase64) }

// allOf reports whether every character of the raw string, escaped or not, is of
// the class.
func allOf(raw []byte, class uint8) bool {
	i := 0
	for ; i+8 <= len(raw); i += 8 { // images are megabytes of it
		w := raw[i : i+8 : i+8]
		if classes[w[0]]&classes[w[1]]&classes[w[2]]&classes[w[3]]&
			classes[w[4]]&classes[w[5]]&classes[w[6]]&classes[w[7]]&class == 0 {
			break
		}
	}
	for ; i < len(raw); i++ {
		if classes[raw[i]]&class != 0 {
			continue
		}
		if raw[i] != '\\' {
			return false
		}
		r, n := escape(raw[i:])
		if r >= 0x80 || classes[r]&class == 0 {
			return false
		}
		i += n - 1
	}
	return true
}

// longestMIME bounds the length of a data URL before its comma.
const longestMIME = 256

// isDataURL reports whether all of raw is a base64 data URL with a media type (RFC
// 2397): `data:image/png;base64,iVBOR...`.
func isDataURL(raw []byte) bool {
	if len(raw) == 0 || raw[0] != 'd' && raw[0] != '\\' {
		return false
	}
	var buf [longestMIME]byte
	head, i := buf[:0], 0
	for ; len(head) < longestMIME && i < len(raw) && raw[i] != ','; i++ {
		c := rune(raw[i])
		if c == '\\' {
			var n int
			c, n = escape(raw[i:])
			i += n - 1
		}
		if c == ',' {
			break
		}
		if c >= 0x80 {
			return false
		}
		if head = append(head, byte(c)); len(head) <= len(scheme) && head[len(head)-1] != scheme[len(head)-1] {
			return false
		}
	}
	if i >= len(raw) || len(head) == longestMIME || !bytes.HasSuffix(head, []byte(marker)) {
		return false
	}
	mime := head[len(scheme):max(len(scheme), len(head)-len(marker))]
	return bytes.IndexByte(mime, '/') > 0 && allOf(mime, classMIME) && isBase64(raw[i+1:])
}

// The beginning of a data URL, and the marker before its comma.
const scheme, marker = "data:", ";base64"
