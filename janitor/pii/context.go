// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strings"
)

// context is a set of topics.
type context uint64

// Each topic is a bit with the words that mean it. Words are compared in lower
// case; letters beyond ASCII are compared as their bytes.
var (
	contextWords = map[string]context{}

	// contextFilter holds a bit for every word there is, by its length and its
	// first and last bytes: most words of a text need no look-up.
	contextFilter [1 << 12]bool

	// spacelessWords are those of languages without spaces. They are looked for
	// inside longer stretches.
	spacelessWords []spacelessWord

	topicCount int
)

type spacelessWord struct {
	word   []byte
	topics context
}

// topic makes a topic of the words in a list; a second list holds those of
// languages without spaces. It runs while the package is initialized.
func topic(words string, spaceless ...string) context {
	if topicCount == 64 {
		panic("pii: more topics than bits")
	}
	t := context(1) << topicCount
	topicCount++
	for _, w := range strings.Fields(words) {
		contextWords[w] |= t
		contextFilter[filterIndex([]byte(w))] = true
	}
	for _, list := range spaceless {
		for _, w := range strings.Fields(list) {
			spacelessWords = append(spacelessWords, spacelessWord{[]byte(w), t})
		}
	}
	return t
}

func filterIndex(word []byte) int {
	n := len(word)
	return (int(word[0])*37 + int(word[n-1])*11 + n*256) & (1<<12 - 1)
}

// Bounds of the search for context words.
const (
	contextBefore = 72 // bytes before a value
	contextAfter  = 24 // bytes after it
	maxWord       = 24 // longer words are no context words
)

// mention is a context word: its end and its topics.
type mention struct {
	end    int
	topics context
}

// vicinity remembers the context words before a value. Values come in order, so
// each byte is read once however many there are.
type vicinity struct {
	to      int // the text before this offset has been read
	line    int // the last line end read
	from    int // words before this offset do not count: a placeholder follows them
	recent  [16]mention
	last    int // where the last mention ends
	written int // mentions so far; modulo the size, the place of the next one
}

// topicsBefore returns the topics of the words in the 72 bytes before text[i].
// Words before a placeholder do not count: scrubbing a text must not bring a
// word closer to a value. Nor do vague words of an earlier line.
func (r *scan) topicsBefore(i int) context {
	w := &r.words
	low := max(0, i-contextBefore)
	if w.to < low {
		w.to = low
		for w.to < i && w.to > 0 && isLetter(r.text[w.to-1]) && isLetter(r.text[w.to]) {
			w.to++ // the rest of a word that began earlier
		}
	}
	r.work += max(0, i-w.to) + len(w.recent)
	if w.to < i {
		w.read(r.text, i)
	}
	if low = max(low, w.from); w.last <= low {
		return 0
	}
	return w.between(low, i)
}

// read reads the words from w.to up to text[i].
func (w *vicinity) read(text []byte, i int) {
	at := w.to
	for at < i {
		if at+8 <= i {
			quiet := quietBytes(binary.LittleEndian.Uint64(text[at:]))
			if at += quiet; quiet == 8 {
				continue
			}
		}
		c := text[at]
		if isLetter(c) {
			at = w.readWord(text, at, i)
			continue
		}
		at++
		switch c {
		case '\n':
			w.line = at
		case ']':
			if w.last > w.from && closesPlaceholder(text, at) {
				w.from = at
			}
		}
	}
	w.to = at
}

// quietBytes returns the number of bytes, of eight, before the first that could
// be a letter, a bracket or a line end.
func quietBytes(x uint64) int {
	y := x & lows
	letter := (y | ones*0x20) + ones*(0x80-0x5b)
	control := ^(y + ones*(0x80-0x20))
	return bits.TrailingZeros64((letter|x|control)&highs) / 8
}

// readWord reads the word that begins at text[start], up to text[i], and returns
// its end.
func (w *vicinity) readWord(text []byte, start, i int) int {
	end := start + 1
	for end < i && isLetter(text[end]) {
		end++
	}
	size := end - start
	if size < 2 || size <= 3 && (isDigit(byteAt(text, start-1)) || isDigit(byteAt(text, end))) {
		return end // a single letter, or part of a hexadecimal number
	}
	topics := topicsOf(text[start:end])
	if topics == 0 && byteAt(text, start-1) == '\\' {
		topics = topicsOf(text[min(start+escapeAt(text, start), end):end])
	}
	if topics != 0 {
		w.recent[w.written%len(w.recent)] = mention{end, topics}
		w.written++
		w.last = end
	}
	return end
}

// between returns the topics of the words that end in text[low:i].
func (w *vicinity) between(low, i int) (topics context) {
	for _, m := range &w.recent {
		if m.end > low && m.end <= i {
			if m.end <= w.line {
				m.topics &^= callWords
			}
			topics |= m.topics
		}
	}
	return topics
}

// topicsBeside returns the topics that have a word before group i or after group
// j.
func (r *scan) topicsBeside(c *chain, i, j int, topics context) context {
	if r.topicsAround(c)&topics == 0 {
		return 0
	}
	return (r.topicsBefore(c.g[i].start) | r.topicsAfter(c.g[j].end)) & topics
}

// topicsAfter returns the topics of the words after text[i] on its line.
func (r *scan) topicsAfter(i int) context {
	var topics context
	high := min(len(r.text), i+contextAfter)
	for start := i; start < high; {
		c := r.text[start]
		if c == '\n' || c == '[' || isDigit(c) {
			break
		}
		if !isLetter(c) {
			start++
			continue
		}
		end := start
		for end < len(r.text) && end-start <= maxWord && isLetter(r.text[end]) {
			end++
		}
		topics |= topicsOf(r.text[start:end])
		start = end
	}
	return topics
}

// isLetter reports whether c is an ASCII letter or part of a rune beyond ASCII.
func isLetter(c byte) bool { return class[c]&(clsAlpha|clsHigh) != 0 }

// topicsOf looks a word up without regard to ASCII case; words written
// together in camel case are looked up by their parts as well.
func topicsOf(word []byte) context {
	if len(word) > 2*maxWord && word[len(word)-1] >= 0x80 {
		word = word[len(word)-2*maxWord:] // a sentence without spaces
	}
	if len(word) < 2 || len(word) > 2*maxWord {
		return 0
	}
	var buf [2 * maxWord]byte
	low := buf[:len(word)]
	hump := false
	for i, c := range word {
		low[i] = lower(c)
		hump = hump || i > 0 && isUpper(c) && isLower(word[i-1])
	}
	topics := lookUp(low)
	if topics != 0 || !hump {
		if topics == 0 && word[len(word)-1] >= 0x80 {
			return topicsWithin(low)
		}
		return topics
	}
	from := 0
	for i := 1; i <= len(word); i++ {
		if i == len(word) || isUpper(word[i]) && isLower(word[i-1]) {
			topics |= lookUp(low[from:i])
			from = i
		}
	}
	return topics
}

// topicsWithin returns the topics of all the words within a sentence without
// spaces.
func topicsWithin(sentence []byte) context {
	var topics context
	for i := range spacelessWords {
		if bytes.Contains(sentence, spacelessWords[i].word) {
			topics |= spacelessWords[i].topics
		}
	}
	return topics
}

// lookUp returns the topics of one word in lower case.
func lookUp(word []byte) context {
	if !contextFilter[filterIndex(word)] {
		return 0
	}
	return contextWords[string(word)]
}

// numbersOnly reports whether the text is short and holds numbers and punctuation
// alone: an answer to "what is your ...?" or a form field. An ambiguous number
// then counts as the kind that it looks like.
func (r *scan) numbersOnly() bool {
	if len(r.text) > 64 || r.part {
		return false
	}
	for _, c := range r.text {
		if isLetter(c) || c == '\n' || c == '[' {
			return false
		}
	}
	return true
}

// topicsAround returns the topics of all words before any group of the chain
// and after its end. Without the right topic here, no single group needs a
// look.
func (r *scan) topicsAround(c *chain) context {
	if !c.asked {
		r.readAround(c)
	}
	return c.topics
}

// readAround reads the words for topicsAround, which stays short enough to
// inline.
func (r *scan) readAround(c *chain) {
	c.topics, c.asked = r.topicsBefore(c.g[0].start)|r.topicsAfter(c.g[c.n-1].end), true
}
