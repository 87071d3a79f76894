// SPDX-License-Identifier: Apache-2.0

package answer

import "io"

const (
	longestWord  = 32      // of names and reasons that mean something
	maxStatement = 4 << 10 // size in bytes of a usage or timings object
)

// Body passes on a JSON answer. It reads it byte by byte as it comes, so it
// needs no bound: nothing is collected but the beginning of a placeholder, and
// what cannot be read passes through as it is from there on. Several values one
// after the other (NDJSON) are read like one.
type Body struct {
	out       sink
	restore   restorer
	restoring bool
	tally     tally
	closed    bool
	whole     bool // a value has been read to its end
	lost      bool // not JSON from here on: everything passes as it is

	stack   [maxDepth + 1]level // stack[depth] is what is being read, stack[0] what is around it all
	depth   int
	naming  bool // the next string is a member's name
	text    textKind
	held    tail
	escape  [6]byte // an escape sequence that has begun and not ended
	escaped int
	word    [longestWord]byte // a name or reason, as far as it has been read
	wordLen int               // above longestWord when it is longer

	statement      []byte // a usage or timings object, as far as it has been read
	statementDepth int    // its depth, 0 when none is being read
	mark           int    // where it begins in the bytes being written
}

// level is an object or array that has begun.
type level struct {
	object bool
	free   bool
	role   role // its own
	member role // that of the member being read, of its elements in an array
}

// textKind is what the string being read is for.
type textKind uint8

const (
	textNone  textKind = iota // not in a string
	textName                  // a member's name
	textWord                  // a value for machines, which may be one to observe
	textOther                 // a value for machines
	textPlain                 // to restore
	textJSON                  // to restore, JSON in a string
)

// NewBody returns a Body that writes to w. Without p, or when it is empty,
// nothing is restored; o may be nil.
func NewBody(w io.Writer, p Placeholders, o Observer) *Body {
	return &Body{
		out:       sink{w: w},
		restore:   restorer{p: p},
		restoring: p != nil && p.Len() > 0,
		tally:     tally{o: o},
	}
}

// Write takes the next bytes of the answer. An error is the first one of the
// underlying writer, and final.
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

// scan reads on: what is between strings, then what is in one, and so on.
func (b *Body) scan(p []byte) {
	b.mark = 0
	for i := 0; i < len(p); {
		switch {
		case b.lost:
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
	if b.statementDepth > 0 {
		b.state(p[b.mark:])
	}
}

func (b *Body) append(p []byte) {
	if b.restoring {
		b.out.append(p)
	}
}

// between reads up to the inside of a string, or to what is no JSON.
func (b *Body) between(p []byte, i int) int {
	for ; i < len(p) && !b.lost; i++ {
		top := &b.stack[b.depth]
		switch ch := p[i]; ch {
		case '"':
			if b.depth == 0 {
				b.lost = true
				return i
			}
			b.text = b.kindOfText(top)
			b.wordLen = 0
			return i + 1
		case '{', '[':
			b.push(top, ch == '{', i)
		case '}', ']':
			if b.depth == 0 || top.object != (ch == '}') {
				b.lost = true
				return i
			}
			if b.statementDepth == b.depth {
				b.endStatement(p[b.mark : i+1])
			}
			b.depth--
			b.whole = b.depth == 0
		case ',':
			b.naming = top.object
		case ':':
			b.naming = false
		default:
			if b.depth == 0 && ch > ' ' {
				b.lost = true
				return i
			}
		}
	}
	return i
}

// push enters an object or array that begins at offset at.
func (b *Body) push(top *level, object bool, at int) {
	if b.depth == maxDepth {
		b.lost = true
		return
	}
	next := level{object: object, free: top.free || top.member.frees(), role: top.member}
	if !object {
		next.member = top.member.element()
	}
	if b.statementDepth == 0 && b.depth == 1 && object && (next.role == roleUsage || next.role == roleTimings) {
		b.statementDepth, b.statement, b.mark = b.depth+1, b.statement[:0], at
	}
	b.depth++
	b.stack[b.depth] = next
	b.naming = object
	b.whole = false
}

// kindOfText tells what the string that begins is for.
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
	case top.member == roleMachine:
		return textOther
	}
	return textWord
}

// inString reads on to the end of the string or of p. Escape sequences are kept
// until they are whole.
func (b *Body) inString(p []byte, i int) int {
	if b.escaped > 0 {
		return b.inEscape(p, i)
	}
	from := i
	for {
		i = special(p, i)
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
			b.abandon()
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

// inEscape goes on with an escape sequence, and gives up the string when it is
// none.
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
			b.abandon()
			return i + 1
		}
	}
	return i
}

// piece takes the next piece of the string being read.
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
	}
	b.append(text)
}

// endString takes the quote that ends the string being read.
func (b *Body) endString(quote []byte) {
	b.release()
	b.append(quote)
	if b.wordLen <= longestWord {
		word := b.word[:b.wordLen]
		switch b.text {
		case textName:
			b.stack[b.depth].member = roleOf(word)
		case textWord:
			b.observe(word)
		}
	} else if b.text == textName {
		b.stack[b.depth].member = roleText
	}
	b.text = textNone
}

// release writes what is held back of a string as it came.
func (b *Body) release() {
	b.append(b.held.bytes())
	b.append(b.escape[:b.escaped])
	b.held.n, b.escaped = 0, 0
}

// abandon gives up: this is no JSON.
func (b *Body) abandon() {
	b.release()
	b.text, b.lost, b.statementDepth = textNone, true, 0
}

// observe takes a value for machines.
func (b *Body) observe(word []byte) {
	top := &b.stack[b.depth]
	listed := b.depth == 3 && top.object && !b.stack[2].object
	switch {
	case len(word) == 0:
	case top.member == roleFinish && listed && top.role == roleChoices,
		top.member == roleStopReason && b.depth == 1:
		b.tally.finish(word)
	case top.member == roleStatus && b.depth == 1:
		b.tally.finished = b.tally.finished || string(word) == "completed" || string(word) == "incomplete"
	case top.member == roleType && listed && top.role == roleOutput:
		b.tally.toolCalls = b.tally.toolCalls || clientCall(word)
	}
}

// state gathers the next bytes of a usage or timings object, unless it is too
// large to be one.
func (b *Body) state(p []byte) {
	if len(b.statement)+len(p) > maxStatement {
		b.statementDepth = 0
		return
	}
	b.statement = append(b.statement, p...)
}

// endStatement reads a usage or timings object that ends with p.
func (b *Body) endStatement(p []byte) {
	b.state(p)
	if b.statementDepth == 0 {
		return
	}
	b.statementDepth = 0
	c := cursor{b: b.statement}
	if b.stack[b.depth].role == roleUsage {
		b.tally.counts.readUsage(&c)
	} else {
		b.tally.counts.readTimings(&c)
	}
}

// Close ends the answer: it writes what is held back, reports to the observer
// what was seen, and clears every buffer that held a value. It does not close
// the underlying writer. It must be called however the answer ended, before
// the placeholders' values go away.
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
