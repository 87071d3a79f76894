// SPDX-License-Identifier: Apache-2.0

package answer

// MaxPlaceholder is the length in bytes of the longest placeholder, with brackets.
// Longer ones stay as they are.
const MaxPlaceholder = 128

// Placeholders is the part of a request's vault that may return into its answer.
// A placeholder is '[', then letters, digits, '_' or '-', then ']', in at most
// [MaxPlaceholder] bytes.
type Placeholders interface {
	// Value returns the decoded value of a placeholder of this request, or false
	// when there is none or it must not be restored. The argument is valid only
	// during the call. The caller does not keep the result after the next call.
	Value(placeholder []byte) (value []byte, ok bool)

	// HasPrefix reports whether a placeholder that may be restored begins with
	// tail.
	HasPrefix(tail []byte) bool

	// Len returns the number of placeholders that may be restored. It is called
	// once.
	Len() int
}

// tail is the end of a text that is held back: the raw beginning of a placeholder.
type tail struct {
	raw [6 * MaxPlaceholder]byte
	n   int
}

func (t *tail) bytes() []byte { return t.raw[:t.n] }

func (t *tail) hold(text []byte) { t.n += copy(t.raw[t.n:], text) }

// restorer replaces the placeholders in JSON strings.
type restorer struct {
	placeholders Placeholders
	name         [MaxPlaceholder]byte // the candidate, decoded
}

// feed writes the next piece of a text to out with its placeholders restored.
// Unless final, it holds back an end that may be the beginning of one. The piece
// is the inside of a JSON string without a broken escape at either end.
//
// A placeholder has '[' only at its beginning and ']' only at its end. So
// candidates never overlap, none is the beginning of another, and [EMAIL_1] is
// never taken for [EMAIL_10].
func (r *restorer) feed(out *sink, t *tail, text []byte, final, nested bool) {
	i := 0
	if t.n > 0 {
		i = r.resume(out, t, text, nested)
	}
	for i < len(text) {
		open := nextBracket(text, i)
		out.append(text[i:open])
		if open == len(text) {
			break
		}
		end, n, state := r.candidate(text, open, 0)
		switch {
		case state == candidateWhole && r.emit(out, n, nested):
		case state == candidateOpen && r.placeholders.HasPrefix(r.name[:n]):
			t.hold(text[open:])
		default:
			out.append(text[open:end])
		}
		i = end
	}
	if final {
		out.append(t.bytes())
		t.n = 0
	}
}

// resume continues the candidate that was held back, and returns the offset of its
// end in text.
func (r *restorer) resume(out *sink, t *tail, text []byte, nested bool) int {
	_, n, _ := r.candidate(t.bytes(), 0, 0)
	end, n, state := r.candidate(text, 0, n)
	switch {
	case state == candidateWhole && r.emit(out, n, nested):
	case state == candidateOpen && r.placeholders.HasPrefix(r.name[:n]):
		t.hold(text)
		return end
	default:
		out.append(t.bytes())
		out.append(text[:end])
	}
	t.n = 0
	return end
}

func (r *restorer) emit(out *sink, n int, nested bool) bool {
	value, ok := r.placeholders.Value(r.name[:n])
	if ok {
		appendEscaped(out, value, nested)
	}
	return ok
}

type candidateState uint8

const (
	candidateDead  candidateState = iota // the byte at end cannot be part of a placeholder
	candidateOpen                        // the text ended before the candidate did
	candidateWhole                       // closed by ']'
)

// candidate decodes text from i on behind the first n bytes of r.name, as long as
// they look like a placeholder.
func (r *restorer) candidate(text []byte, i, n int) (end, length int, state candidateState) {
	for i < len(text) {
		ch, size := unit(text, i)
		if !nameByte(ch) && (ch != '[' || n > 0) && ch != ']' || n == len(r.name) {
			return i, n, candidateDead
		}
		r.name[n] = ch
		n++
		i += size
		if ch == ']' {
			return i, n, candidateWhole
		}
	}
	return i, n, candidateOpen
}

func nameByte(ch byte) bool {
	return ch >= 'A' && ch <= 'Z' || ch >= 'a' && ch <= 'z' || ch >= '0' && ch <= '9' || ch == '_' || ch == '-'
}

// unit decodes the character at i of a raw string and returns its raw length.
// Every character that cannot be part of a placeholder is 0xFF, or a byte of its
// UTF-8.
func unit(text []byte, i int) (ch byte, size int) {
	if text[i] != '\\' {
		return text[i], 1
	}
	switch n := escapeLen(text[i:]); n {
	case 6:
		if h := hexValue(text[i+4]); text[i+2] == '0' && text[i+3] == '0' && h < 8 {
			return h<<4 | hexValue(text[i+5]), n
		}
		return 0xFF, n
	case 2:
		return 0xFF, n
	}
	return 0xFF, 1
}

// nextBracket returns the index of the next '[', plain or escaped, at or behind i,
// len(text) without one.
func nextBracket(text []byte, i int) int {
	for {
		i = indexEither(text, i, '[', '\\')
		if i == len(text) || text[i] == '[' {
			return i
		}
		ch, size := unit(text, i)
		if ch == '[' {
			return i
		}
		i += size
	}
}

// mayRestore reports whether text has a '['.
func mayRestore(text []byte) bool { return nextBracket(text, 0) < len(text) }
