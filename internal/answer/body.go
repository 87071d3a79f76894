// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"io"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

const (
	longestWord = 32      // length in bytes of the names and reasons with a meaning
	maxCounts   = 4 << 10 // size in bytes of the largest usage or timings object
)

// Body passes on a JSON answer. It reads the bytes as they come and collects only
// the beginning of a placeholder, so it needs no bound. From the first error in
// the JSON on, everything passes as it is. Several values in a row (NDJSON) are
// read like one.
type Body struct {
	out       sink
	restore   restorer
	restoring bool
	tally     tally
	closed    bool
	whole     bool // the last value has ended
	verbatim  bool // not JSON from here on: everything passes as it is

	stack   [maxDepth + 1]level // stack[depth] is the innermost container; stack[0] surrounds all values
	depth   int
	naming  bool // the next string is a member's name
	text    textKind
	held    tail
	escape  [6]byte // an escape sequence that has begun and not ended
	escaped int
	word    [longestWord]byte // the beginning of a name or reason
	wordLen int               // above longestWord when it is longer

	id         [prompt.MaxResponseID]byte // the beginning of the answer's ID
	idLen      int                        // above its size when it is longer
	isResponse bool                       // the answer is a response object

	counts      []byte // a usage or timings object, as far as it has been read
	countsDepth int    // its depth, 0 when none is being read
	countsFrom  int    // where it begins in the bytes being written
}

// level is an object or array that has begun and not ended.
type level struct {
	object bool
	free   bool
	own    meaning // of the container itself
	member meaning // of the current member; in an array, of its elements
}

// textKind is the purpose of the string that is being read.
type textKind uint8

const (
	textNone  textKind = iota // not in a string
	textName                  // a member's name
	textWord                  // a value for machines, which may be one to observe
	textOther                 // a value for machines
	textID                    // the answer's own ID
	textPlain                 // to restore
	textJSON                  // to restore, JSON in a string
)

// NewBody returns a Body that writes to w. When p is nil or empty, nothing is
// restored. o may be nil.
func NewBody(w io.Writer, p Placeholders, o Observer) *Body {
	return &Body{
		out:       sink{w: w},
		restore:   restorer{placeholders: p},
		restoring: p != nil && p.Len() > 0,
		tally:     tally{observer: o},
	}
}

// Write takes the next bytes of the answer. It returns the first error of the
// underlying writer, also in all later calls.
func (b *Body) Write(p []byte) (int, error) {
	if b.closed {
		return 0, ErrClosed
	}
	b.scan(p)
	if !b.restoring && b.out.err == nil {
		b.out.write(p)
	}
	b.out.flush()
	if b.out.err != nil {
		return 0, b.out.err
	}
	return len(p), nil
}

// scan reads the bytes between strings and those in strings by turns.
func (b *Body) scan(p []byte) {
	b.countsFrom = 0
	for i := 0; i < len(p); {
		switch {
		case b.verbatim:
			b.append(p[i:])
			return
		case b.text == textNone:
			end := b.between(p, i)
			b.append(p[i:end])
			i = end
		default:
			i = b.inString(p, i)
		}
	}
	if b.countsDepth > 0 {
		b.addCounts(p[b.countsFrom:])
	}
}

func (b *Body) append(p []byte) {
	if b.restoring {
		b.out.append(p)
	}
}

// between reads up to the inside of a string, or to an error in the JSON.
func (b *Body) between(p []byte, i int) int {
	for ; i < len(p) && !b.verbatim; i++ {
		top := &b.stack[b.depth]
		switch ch := p[i]; ch {
		case '"':
			if b.depth == 0 {
				b.verbatim = true
				return i
			}
			b.text = b.kindOfText(top)
			b.wordLen = 0
			if b.text == textID {
				b.idLen = 0
			}
			return i + 1
		case '{', '[':
			b.push(top, ch == '{', i)
		case '}', ']':
			if b.depth == 0 || top.object != (ch == '}') {
				b.verbatim = true
				return i
			}
			if b.countsDepth == b.depth {
				b.endCounts(p[b.countsFrom : i+1])
			}
			b.depth--
			b.whole = b.depth == 0
		case ',':
			b.naming = top.object
		case ':':
			b.naming = false
		default:
			if b.depth == 0 && ch > ' ' {
				b.verbatim = true
				return i
			}
		}
	}
	return i
}

// push enters an object or array that begins at offset at.
func (b *Body) push(top *level, object bool, at int) {
	if b.depth == maxDepth {
		b.verbatim = true
		return
	}
	next := level{object: object, free: top.free || top.member.frees(), own: top.member}
	if !object {
		next.member = top.member.element()
	}
	if b.countsDepth == 0 && b.depth == 1 && object && (next.own == meansUsage || next.own == meansTimings) {
		b.countsDepth, b.counts, b.countsFrom = b.depth+1, b.counts[:0], at
	}
	if b.depth == 0 {
		b.idLen, b.isResponse = 0, false
	}
	b.depth++
	b.stack[b.depth] = next
	b.naming = object
	b.whole = false
}

// kindOfText returns the purpose of the string that begins.
func (b *Body) kindOfText(top *level) textKind {
	if top.object && b.naming {
		return textName
	}
	yes, nested := top.member.restores(top.free)
	switch {
	case yes && nested:
		return textJSON
	case yes:
		return textPlain
	case top.member == meansID && b.depth == 1 && top.object:
		return textID
	case top.member == meansMachine, top.member == meansID:
		return textOther
	}
	return textWord
}

// inString reads to the end of the string or of p. It keeps an incomplete escape
// sequence.
func (b *Body) inString(p []byte, i int) int {
	if b.escaped > 0 {
		return b.inEscape(p, i)
	}
	from := i
	for {
		i = indexSpecial(p, i)
		if i == len(p) {
			b.piece(p[from:i])
			return i
		}
		switch ch := p[i]; {
		case ch == '"':
			b.piece(p[from:i])
			b.endString(p[i : i+1])
			return i + 1
		case ch < 0x20:
			b.piece(p[from:i])
			b.giveUp()
			return i
		}
		n := escapeLen(p[i:])
		if n == 0 {
			b.piece(p[from:i])
			b.escape[0], b.escaped = '\\', 1
			return i + 1
		}
		i += n
	}
}

// inEscape continues an escape sequence, and gives up when it is malformed.
func (b *Body) inEscape(p []byte, i int) int {
	for ; i < len(p); i++ {
		b.escape[b.escaped] = p[i]
		b.escaped++
		begun := b.escape[:b.escaped]
		switch {
		case escapeLen(begun) > 0:
			b.escaped = 0
			b.piece(begun)
			return i + 1
		case begun[1] != 'u' || b.escaped == len(b.escape) || b.escaped > 2 && hexValue(p[i]) == 16:
			b.giveUp()
			return i + 1
		}
	}
	return i
}

// piece takes the next piece of the string.
func (b *Body) piece(text []byte) {
	switch b.text {
	case textPlain, textJSON:
		if b.restoring {
			b.restore.feed(&b.out, &b.held, text, false, b.text == textJSON)
		}
		return
	case textName, textWord:
		b.wordLen += len(text)
		if b.wordLen <= longestWord {
			copy(b.word[b.wordLen-len(text):], text)
		}
	case textID:
		if b.idLen += len(text); b.idLen <= len(b.id) {
			copy(b.id[b.idLen-len(text):], text)
		}
	}
	b.append(text)
}

// endString takes the quote that ends the string.
func (b *Body) endString(quote []byte) {
	b.release()
	b.append(quote)
	if b.wordLen <= longestWord {
		word := b.word[:b.wordLen]
		switch b.text {
		case textName:
			b.stack[b.depth].member = meaningOf(word)
		case textWord:
			b.observe(word)
		}
	} else if b.text == textName {
		b.stack[b.depth].member = meansText
	}
	if b.text == textID {
		b.observeID()
	}
	b.text = textNone
}

// observeID reports the ID of a response object, once both are known.
func (b *Body) observeID() {
	if b.isResponse && b.idLen <= len(b.id) {
		b.tally.response(b.id[:b.idLen])
	}
}

// release writes the bytes held back of a string as they came.
func (b *Body) release() {
	b.append(b.held.bytes())
	b.append(b.escape[:b.escaped])
	b.held.n, b.escaped = 0, 0
}

// giveUp passes on everything else as it is: this is no JSON.
func (b *Body) giveUp() {
	b.release()
	b.text, b.verbatim, b.countsDepth = textNone, true, 0
}

// observe reads a value for machines.
func (b *Body) observe(word []byte) {
	top := &b.stack[b.depth]
	listed := b.depth == 3 && top.object && !b.stack[2].object
	switch {
	case len(word) == 0:
	case top.member == meansFinish && listed && top.own == meansChoices,
		top.member == meansStopReason && b.depth == 1:
		b.tally.finish(word)
	case top.member == meansStatus && b.depth == 1:
		b.tally.finished = b.tally.finished || string(word) == "completed" || string(word) == "incomplete"
	case top.member == meansObject && b.depth == 1 && top.object:
		b.isResponse = string(word) == "response"
		b.observeID()
	case top.member == meansType && listed && top.own == meansOutput:
		b.tally.toolCalls = b.tally.toolCalls || clientCall(word)
	}
}

// addCounts gathers the next bytes of a usage or timings object, and drops one
// that is too large.
func (b *Body) addCounts(p []byte) {
	if len(b.counts)+len(p) > maxCounts {
		b.countsDepth = 0
		return
	}
	b.counts = append(b.counts, p...)
}

// endCounts reads a usage or timings object that ends with p.
func (b *Body) endCounts(p []byte) {
	b.addCounts(p)
	if b.countsDepth == 0 {
		return
	}
	b.countsDepth = 0
	c := cursor{b: b.counts}
	if b.stack[b.depth].own == meansUsage {
		b.tally.counts.readUsage(&c)
	} else {
		b.tally.counts.readTimings(&c)
	}
}

// Close ends the answer: it writes the bytes held back, reports to the observer
// and wipes every buffer that held a value. It does not close the underlying
// writer. Call it however the answer ended, and before the values of the
// placeholders are wiped.
func (b *Body) Close() error {
	if b.closed {
		return b.out.err
	}
	b.closed = true
	defer b.out.wipe()
	b.release()
	b.out.flush()
	b.tally.finished = b.tally.finished && b.whole
	b.tally.report()
	return b.out.err
}

var _ io.WriteCloser = (*Body)(nil)
