// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"errors"
	"hash"
	"strconv"
	"unsafe"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// Text is a string of the body for the scrubber.
type Text struct {
	// Start and End are the raw offsets between the quotes.
	Start, End int
	// Item numbers the independent inputs of a request from 1: embedding inputs,
	// documents to rank, a list of prompts. All other texts have 0. Placeholders
	// are numbered per item.
	Item int32
	// Escaped: the string has backslashes, so Decode copies it.
	Escaped bool
	// Nested: the string may be a JSON document. A Cursor reads its strings.
	Nested bool
	// Loose: only the model reads the nested document, such as the result of a
	// tool. It need not parse after scrubbing, and its numbers are scrubbed too.
	Loose bool
	// Key: the string is an object's key and cannot be replaced.
	Key bool
	// Join: the text continues the one before it in Texts. Both are parts of one
	// message, which engines join.
	Join bool
}

// SegmentKind is the kind of a segment. The rendition includes it.
type SegmentKind uint8

const (
	// SegmentRole opens each message or item: its role, else its type, else
	// nothing.
	SegmentRole SegmentKind = iota + 1
	// SegmentType is the type of a part that is not plain text.
	SegmentType
	// SegmentName is the name of a participant or of a called function.
	SegmentName
	// SegmentReasoning is reasoning text.
	SegmentReasoning
	// SegmentText is text of a message or a prompt.
	SegmentText
	// SegmentArguments is the arguments of a call, as a string.
	SegmentArguments
	// SegmentRaw is any JSON value, rendered without insignificant white space.
	SegmentRaw
	// SegmentRest continues the SegmentRaw before it behind an omission.
	SegmentRest
)

// Segment is a piece of the prompt that the engine renders.
type Segment struct {
	// Start and End are raw offsets, for strings those between the quotes.
	Start, End int
	// Message numbers the messages, as radix_depth counts them. Message 0 holds
	// the options that change the start of the prompt, with tools and leading
	// system messages; without the latter two it also holds the first message. A
	// prompt without messages is message 0.
	Message int32
	Kind    SegmentKind
	// Escaped: the string has backslashes.
	Escaped bool
}

// Member is the raw range of an object member's value, zero when it is missing.
type Member struct {
	Start, End int
	// Empty: the value is an empty object or list.
	Empty bool
}

// Present reports whether the body has the member.
func (m Member) Present() bool { return m.End > 0 }

// Document is one parsed request body. The next Parse reuses its memory, so keep
// documents in a pool. It is not safe for concurrent use.
type Document struct {
	// Body is the text that the offsets refer to: the argument of Parse, then the
	// result of the last Splice.
	Body []byte
	API  API
	// Texts are all strings to scrub: those of the prompt in the order in which
	// engines render it, then the others in body order. Splice drops them.
	Texts []Text
	// Segments are the prompt in the order in which engines render it. Empty:
	// the request cannot be signed.
	Segments []Segment
	// Model is the decoded name of the model, at most 256 bytes.
	Model string
	// Stream: the client asks for a streamed answer.
	Stream bool
	// Priority is the request's own priority, as vLLM reads it: the request with
	// the smaller number goes first. It is bounded to 32 bits. 0: the request has
	// none, or something that is no integer.
	Priority int32
	// Continues: the request continues what the engine has stored, so the body
	// does not show all of its prompt. PreviousResponse is the decoded ID of the
	// stored response, at most MaxResponseID bytes; empty: none, or a longer one.
	Continues        bool
	PreviousResponse string
	// TokenIDs: the prompt, or part of it, is token ids or embeddings, which no
	// scrubber can read.
	TokenIDs bool
	// ManyPrompts: the request has a list of prompts, and is not signed.
	ManyPrompts bool
	// Media counts the images, sounds and files in the last Render.
	Media int
	// InsertAt is the offset behind the first '{', where a member can be added:
	// `"name":value`, with a comma behind it unless Empty. 0: not an object.
	InsertAt int
	// Empty: the object has no members but those in Taken.
	Empty bool
	// StreamOptions and CacheSalt are the top-level members of these names,
	// IncludeUsage is a member of StreamOptions.
	StreamOptions, IncludeUsage, CacheSalt Member
	// HasVariant: the request has members that RenderVariant streams.
	HasVariant bool
	// Doubtful: engines render a large part of the prompt in different ways.
	Doubtful bool
	// NoCache: the engine computes the whole prompt, whatever it has cached.
	NoCache bool
	// Taken are the engine members that ParseWithout was told to find, in no
	// order. Texts has no string of them.
	Taken []Taken

	variants     [len(promptMembers)]Member // those of HasVariant, by their rows
	take         EngineMembers
	dialect      *Dialect
	tape         tape
	top          [numActedOn]uint32 // value node of each top-level member that the package acts on; 0: none
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

// maxModel is the length of the longest model name, in bytes.
const maxModel = 256

// Parse reads body as a request of the given API. It neither copies nor changes
// body. An error is an *Error and leaves the document without meaning.
func (d *Document) Parse(api API, body []byte) error { return d.ParseWithout(api, body, 0) }

// ParseWithout is Parse for a body that must lose some engine members: Taken has
// those of them that are in the body. Until they are spliced out, Body still has
// them.
func (d *Document) ParseWithout(api API, body []byte, take EngineMembers) error {
	d.clear()
	d.Body, d.API, d.dialect, d.take = body, api, api.Dialect(), take
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
	if len(d.Taken) > maxTaken {
		return errEngineMembers
	}
	d.item = 0
	d.sweep(0, uint32(len(d.tape.nodes)))
	if !d.wantSegments || d.TokenIDs || d.ManyPrompts {
		d.Segments = d.Segments[:0]
	}
	return nil
}

// clear empties the document. It keeps the memory, and the model, which the next
// request often names again.
func (d *Document) clear() {
	d.Texts, d.Segments, d.Taken = d.Texts[:0], d.Segments[:0], d.Taken[:0]
	d.Body, d.Stream, d.Priority, d.TokenIDs, d.ManyPrompts = nil, false, 0, false, false
	d.InsertAt, d.Empty, d.Media = 0, false, 0
	d.HasVariant, d.Doubtful, d.NoCache = false, false, false
	clear(d.variants[:])
	d.Continues, d.PreviousResponse = false, ""
	d.StreamOptions, d.IncludeUsage, d.CacheSalt = Member{}, Member{}, Member{}
	d.message, d.item, d.items = 0, 0, 0
	clear(d.top[:])
}

// Reset drops the body and wipes every copy of its text, so that the document
// can go back to a pool.
func (d *Document) Reset() {
	d.clear()
	d.tape.body, d.tape.nodes = nil, d.tape.nodes[:0]
	for _, b := range [...][]byte{d.chunk, d.plain, d.tape.keys.plain, d.tape.keys.plain2} {
		sensitive.Wipe(b)
	}
}

// MemorySize returns the bytes of memory that the document keeps besides the
// body. Do not pool large ones.
func (d *Document) MemorySize() int {
	const slot = int(unsafe.Sizeof(keySlot{}))
	return int(unsafe.Sizeof(*d)) +
		cap(d.tape.nodes)*int(unsafe.Sizeof(node{})) + cap(d.tape.keys.slots)*slot +
		cap(d.Texts)*int(unsafe.Sizeof(Text{})) + cap(d.Segments)*int(unsafe.Sizeof(Segment{})) +
		cap(d.Taken)*int(unsafe.Sizeof(Taken{})) +
		8*cap(d.deltas) + cap(d.chunk) + cap(d.plain) +
		cap(d.tape.keys.plain) + cap(d.tape.keys.plain2)
}

// readRoot finds the top-level members that the package acts on and reads those
// that every API has.
func (d *Document) readRoot() error {
	nodes := d.tape.nodes
	if nodes[0].kind != kindObject {
		if d.dialect.AnyJSON {
			d.takeEngineMembers()
			d.setModel(nil)
			return nil
		}
		return ErrType
	}
	d.InsertAt, d.Empty = int(nodes[0].start)+1, nodes[0].next == 1
	carries := d.dialect.AnyJSON
	for k := uint32(1); k < nodes[0].next; k = nodes[k+1].next {
		if n := nodes[k].name; n != nameNone && n < numActedOn {
			d.top[n] = k + 1
			carries = carries || n >= firstCarrier
		}
	}
	if carries {
		d.takeEngineMembers()
	}
	d.StreamOptions = d.member(d.top[nameStreamOptions])
	d.CacheSalt = d.member(d.top[nameCacheSalt])
	d.skipID(d.top[nameCacheSalt]) // random, so it would be taken for a secret
	if o := d.top[nameStreamOptions]; o != 0 && nodes[o].kind == kindObject {
		d.IncludeUsage = d.member(d.find(o, nameIncludeUsage))
	}
	d.readPromptMembers()
	d.Priority = d.priority()
	return d.readModelAndStream()
}

// priority returns Priority.
func (d *Document) priority() int32 {
	m := d.member(d.top[namePriority])
	if !m.Present() || m.End-m.Start > longestInteger {
		return 0
	}
	// Out of range, ParseInt returns the bound that is nearest.
	n, err := strconv.ParseInt(string(d.Body[m.Start:m.End]), 10, 32)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return int32(n)
}

// longestInteger is the length of the longest priority that is read, in bytes.
const longestInteger = 32

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

// setModel allocates only when the last request named another model.
func (d *Document) setModel(model []byte) {
	if string(model) != d.Model {
		d.Model = string(model)
	}
}

// member returns the raw range of value node n, zero when n is 0.
func (d *Document) member(n uint32) Member {
	if n == 0 {
		return Member{}
	}
	start, end := d.tape.raw(n)
	v := &d.tape.nodes[n]
	return Member{start, end, v.kind <= kindArray && v.next == n+1}
}

// raw returns the range of value n, quotes included.
func (t *tape) raw(n uint32) (start, end int) {
	v := &t.nodes[n]
	if v.kind == kindString || v.kind == kindKey {
		return int(v.start) - 1, int(v.end) + 1
	}
	return int(v.start), int(v.end)
}

// find returns the value node of an object's member, 0 when it is missing.
func (d *Document) find(object uint32, want name) uint32 {
	nodes := d.tape.nodes
	for k := object + 1; k < nodes[object].next; k = nodes[k+1].next {
		if nodes[k].name == want {
			return k + 1
		}
	}
	return 0
}

// text returns the decoded string of node n. It is valid until the next call.
func (d *Document) text(n uint32) []byte {
	v := &d.tape.nodes[n]
	raw := d.Body[v.start:v.end]
	if !v.escaped() {
		return raw
	}
	d.plain = appendUnescaped(d.plain[:0], raw)
	return d.plain
}

// is reports whether node n is the string s; node 0 is not.
func (d *Document) is(n uint32, s string) bool {
	return n != 0 && d.tape.nodes[n].kind == kindString && string(d.text(n)) == s
}
