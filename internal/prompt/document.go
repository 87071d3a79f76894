// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"hash"
	"unsafe"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// Text is a string of the body that has to be scrubbed.
type Text struct {
	// Start and End are raw offsets of what is between the quotes.
	Start, End int
	// Item numbers the text this one belongs to when the request has several
	// independent ones (embedding inputs, documents to rank, a list of prompts),
	// from 1. Everything else is 0. Placeholders are numbered per item.
	Item int32
	// Escaped: it has backslashes; Decode copies.
	Escaped bool
	// Nested: it should hold a JSON document, whose strings are the texts. A
	// Cursor opens it.
	Nested bool
	// Loose: a nested document nobody but the model reads (what a tool
	// returned), so that it need not parse after scrubbing and its numbers are
	// scrubbed too.
	Loose bool
	// Key: it is an object's key. It cannot be replaced.
	Key bool
	// Join: it goes on where the text before it in Texts ended: parts of one
	// message, which engines put together.
	Join bool
}

// SegmentKind says what a segment is, and so how it is hashed.
type SegmentKind uint8

const (
	// SegmentRole opens a message or item: its role, or its type when it has no
	// role. Present for each one, empty when the request says nothing.
	SegmentRole SegmentKind = iota + 1
	// SegmentType is the type of a part that is not plain text.
	SegmentType
	// SegmentName is the name of a participant or of a function called.
	SegmentName
	// SegmentReasoning is reasoning text.
	SegmentReasoning
	// SegmentText is text of a message or a prompt.
	SegmentText
	// SegmentArguments is the arguments of a call, as a string.
	SegmentArguments
	// SegmentRaw is any JSON value: hashed without insignificant white space.
	SegmentRaw
	// SegmentRest goes on with the SegmentRaw before it, something having been
	// left out in between.
	SegmentRest
)

// Segment is a piece of what the engine renders into the prompt.
type Segment struct {
	// Start and End are raw offsets: of strings what is between the quotes.
	Start, End int
	// Message is the block radix_depth counts: 0 holds options that change the
	// start of the prompt, tools and the leading system messages, or the first
	// message when there are none of the latter two; then one per message. A
	// prompt without messages is block 0.
	Message int32
	Kind    SegmentKind
	// Escaped: a string with backslashes in it.
	Escaped bool
}

// Member is the raw range of an object member's value; zero when it is not there.
type Member struct {
	Start, End int
	// Empty: the value is an object or list with nothing in it.
	Empty bool
}

// Present reports whether the body has the member.
func (m Member) Present() bool { return m.End > 0 }

// Document is one request body, understood. Its memory is reused by the next
// Parse; keep documents in a pool. Not safe for concurrent use.
type Document struct {
	// Body is what the offsets refer to: the bytes parsed, then what the last
	// Splice returned.
	Body []byte
	API  API
	// Texts is every string to scrub: those the engine renders first, in the
	// order it does (options, tools, system, messages), then the others in body
	// order. Gone after Splice.
	Texts []Text
	// Segments is what the engine renders, in that order. Empty when the
	// request cannot be signed.
	Segments []Segment
	// Model is the model asked for, decoded, at most 256 bytes.
	Model string
	// Stream: the answer is wanted as a stream.
	Stream bool
	// TokenIDs: the prompt, or part of it, is token ids or embeddings, which no
	// scrubber can read.
	TokenIDs bool
	// Many: a list of several prompts; never signed.
	ManyPrompts bool
	// Media is how many images, sounds and files the last Render came by.
	Media int
	// Open is the offset behind the first '{', where a member can be added:
	// `"name":value`, and a comma behind it unless Empty. 0: not an object.
	InsertAt int
	// Empty: the object has no members.
	Empty bool
	// StreamOptions and CacheSalt are the top-level members of these names,
	// IncludeUsage is the member of StreamOptions.
	StreamOptions, IncludeUsage, CacheSalt Member
	// Variant is a digest of the options that change the tokens an engine makes
	// of a prompt but are not in its rendition, because they do not change its
	// start: two requests with equal renditions have equal tokens only when their
	// variants are equal. 0: none of the options is given.
	Variant uint64

	dialect      *Dialect
	tape         tape
	top          [numActedOn]uint32 // value node of each acted-on top-level member; 0: none
	wantSegments bool               // segments are wanted
	message      int32
	item         int32
	items        int32
	deltas       []int
	chunk        []byte
	plain        []byte
	digest       hash.Hash
	oneByte      [1]byte
}

// maxModel is the longest model name taken, in bytes.
const maxModel = 256

// Parse reads body as a request of the given API. The error is an *Error, and
// the document then holds nothing of use. body is not copied and not changed.
func (d *Document) Parse(api API, body []byte) error {
	d.clear()
	d.Body, d.API, d.dialect = body, api, api.Dialect()
	d.wantSegments = d.dialect.Signable
	if err := d.tape.parse(body); err != nil {
		return err
	}
	if err := d.readRoot(); err != nil {
		return err
	}
	if d.InsertAt != 0 {
		if err := d.dialect.list(d); err != nil {
			return err
		}
	}
	d.item = 0
	d.sweep(0, uint32(len(d.tape.nodes)))
	if !d.wantSegments || d.TokenIDs || d.ManyPrompts {
		d.Segments = d.Segments[:0]
	}
	return nil
}

// clear makes the document empty but keeps its memory and, since the next
// request probably names the same, the model.
func (d *Document) clear() {
	d.Texts, d.Segments = d.Texts[:0], d.Segments[:0]
	d.Body, d.Stream, d.TokenIDs, d.ManyPrompts = nil, false, false, false
	d.InsertAt, d.Empty, d.Media, d.Variant = 0, false, 0, 0
	d.StreamOptions, d.IncludeUsage, d.CacheSalt = Member{}, Member{}, Member{}
	d.message, d.item, d.items = 0, 0, 0
	clear(d.top[:])
}

// Reset lets go of the body and of everything that was copied from it, so that
// the document can go back to a pool.
func (d *Document) Reset() {
	d.clear()
	d.tape.body, d.tape.nodes = nil, d.tape.nodes[:0]
	for _, b := range [...][]byte{d.chunk, d.plain, d.tape.keys.plain, d.tape.keys.plain2} {
		sensitive.Wipe(b)
	}
}

// Footprint returns how many bytes of memory the document keeps besides the
// body. Do not pool those that have grown large.
func (d *Document) MemorySize() int {
	const slot = int(unsafe.Sizeof(keySlot{}))
	return int(unsafe.Sizeof(*d)) +
		cap(d.tape.nodes)*int(unsafe.Sizeof(node{})) + cap(d.tape.keys.slots)*slot +
		cap(d.Texts)*int(unsafe.Sizeof(Text{})) + cap(d.Segments)*int(unsafe.Sizeof(Segment{})) +
		8*cap(d.deltas) + cap(d.chunk) + cap(d.plain) +
		cap(d.tape.keys.plain) + cap(d.tape.keys.plain2)
}

// root notes the top-level members that the package acts on and reads those
// that every API has.
func (d *Document) readRoot() error {
	nodes := d.tape.nodes
	if nodes[0].kind != kindObject {
		if d.dialect.AnyJSON {
			d.setModel(nil)
			return nil
		}
		return ErrType
	}
	d.InsertAt, d.Empty = int(nodes[0].start)+1, nodes[0].next == 1
	for k := uint32(1); k < nodes[0].next; k = nodes[k+1].next {
		if n := nodes[k].name; n != nameNone && n < numActedOn {
			d.top[n] = k + 1
		}
	}
	d.StreamOptions = d.member(d.top[nameStreamOptions])
	d.CacheSalt = d.member(d.top[nameCacheSalt])
	d.skipID(d.top[nameCacheSalt]) // random by design: it would look like a secret
	if o := d.top[nameStreamOptions]; o != 0 && nodes[o].kind == kindObject {
		d.IncludeUsage = d.member(d.find(o, nameIncludeUsage))
	}
	d.Variant = d.variant()
	return d.readModelAndStream()
}

// variant makes the digest Variant: FNV-1a over what the options are set to,
// as it stands in the body (http://www.isthe.com/chongo/tech/comp/fnv/).
func (d *Document) variant() (digest uint64) {
	for i, n := range [...]name{nameAddGenerationPrompt, nameAddSpecialTokens, nameContinueFinalMessage, nameToolChoice} {
		m := d.member(d.top[n])
		if !m.Present() {
			continue
		}
		if digest == 0 {
			digest = 14695981039346656037
		}
		digest = (digest ^ uint64(i)) * 1099511628211
		for _, c := range d.Body[m.Start:m.End] {
			digest = (digest ^ uint64(c)) * 1099511628211
		}
	}
	return digest
}

func (d *Document) readModelAndStream() error {
	strict := !d.dialect.AnyJSON
	var model []byte
	if m := d.top[nameModel]; m != 0 {
		switch n := &d.tape.nodes[m]; {
		case n.kind == kindString:
			model = d.text(m)
			if len(model) > maxModel {
				if strict {
					return errModel
				}
				model = nil
				break
			}
			n.flags |= flagDone
		case n.kind != kindNull && strict:
			return errModel
		}
	}
	d.setModel(model)
	if s := d.top[nameStream]; s != 0 {
		switch d.tape.nodes[s].kind {
		case kindTrue:
			d.Stream = true
		case kindFalse, kindNull:
		default:
			if strict {
				return errStream
			}
		}
	}
	return nil
}

// setModel spares the allocation when the name is that of the last request.
func (d *Document) setModel(model []byte) {
	if string(model) != d.Model {
		d.Model = string(model)
	}
}

// member returns the raw range of a value node; 0 is none.
func (d *Document) member(n uint32) Member {
	if n == 0 {
		return Member{}
	}
	start, end := d.tape.raw(n)
	v := &d.tape.nodes[n]
	return Member{start, end, v.kind <= kindArray && v.next == n+1}
}

// raw returns the range of the whole value, quotes included.
func (t *tape) raw(n uint32) (start, end int) {
	v := &t.nodes[n]
	if v.kind == kindString || v.kind == kindKey {
		return int(v.start) - 1, int(v.end) + 1
	}
	return int(v.start), int(v.end)
}

// find returns the value node of the object's member of that name, or 0.
func (d *Document) find(object uint32, want name) uint32 {
	nodes := d.tape.nodes
	for k := object + 1; k < nodes[object].next; k = nodes[k+1].next {
		if nodes[k].name == want {
			return k + 1
		}
	}
	return 0
}

// text returns the decoded string of a node. It is valid until the next call.
func (d *Document) text(n uint32) []byte {
	v := &d.tape.nodes[n]
	raw := d.Body[v.start:v.end]
	if !v.escaped() {
		return raw
	}
	d.plain = appendUnescaped(d.plain[:0], raw)
	return d.plain
}

// is reports whether node n (0: none) is a string with that text.
func (d *Document) is(n uint32, s string) bool {
	return n != 0 && d.tape.nodes[n].kind == kindString && string(d.text(n)) == s
}
