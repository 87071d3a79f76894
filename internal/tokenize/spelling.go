// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"bytes"
	"unicode/utf8"
)

// spelling is an engine's spelling of the text of tokens: that of its vocabulary
// (convert_ids_to_tokens), in one of three ways:
//
//   - byte level BPE (GPT-2 and most since): every byte is a character of an
//     alphabet of 256; see bytes_to_unicode in
//     https://github.com/openai/gpt-2/blob/master/src/encoder.py
//   - SentencePiece: U+2581 for a space, <0x0A> for a byte that is no character of
//     the vocabulary (https://github.com/google/sentencepiece)
//   - the text itself
//
// Special tokens are words in all of them and stay as they are.
type spelling uint8

const (
	spellPlain spelling = iota
	spellBytes
	spellSentence
)

var (
	spaceSentence = []byte("\u2581")
	spaceBytes    = []byte("\u0120")
	newlineBytes  = []byte("\u010A")
)

// byteAlphabet maps a character of the alphabet to its byte plus one, and others to
// 0.
var byteAlphabet = func() (table [0x144]uint16) {
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r = next
			next++
		}
		table[r] = uint16(b) + 1
	}
	return table
}()

// decode turns the texts into bytes of the prompt, in place. No text gets longer.
func (t *Tokens) decode() {
	spelt := t.spelling()
	if spelt == spellPlain {
		return
	}
	from, to := uint32(0), 0
	for i, end := range t.textEnds {
		piece := t.texts[from:end]
		from = end
		if spelt == spellBytes {
			piece = decodeBytes(piece)
		} else {
			piece = decodeSentence(piece)
		}
		to += copy(t.texts[to:], piece)
		t.textEnds[i] = uint32(to)
	}
	clear(t.texts[to:])
	t.texts = t.texts[:to]
}

// spelling guesses the spelling from how most pieces write white space. Special
// tokens have their own spelling.
func (t *Tokens) spelling() spelling {
	var bytesLike, sentenceLike, plainLike int
	for i := range t.textEnds {
		switch piece := t.Text(i); {
		case isByte(piece):
			sentenceLike++
		case len(piece) > 2 && piece[0] == '<' && piece[len(piece)-1] == '>':
		case bytes.Contains(piece, spaceSentence):
			sentenceLike++
		case bytes.Contains(piece, spaceBytes), bytes.Contains(piece, newlineBytes):
			bytesLike++
		case bytes.ContainsAny(piece, " \n"):
			plainLike++
		}
	}
	switch {
	case bytesLike > max(sentenceLike, plainLike):
		return spellBytes
	case sentenceLike > plainLike:
		return spellSentence
	}
	return spellPlain
}

// isByte reports whether a piece is a byte of SentencePiece, such as <0x0A>.
func isByte(piece []byte) bool {
	return len(piece) == len("<0x00>") && bytes.HasPrefix(piece, []byte("<0x")) && piece[5] == '>' &&
		nibble(piece[3]) >= 0 && nibble(piece[4]) >= 0
}

// decodeBytes decodes a piece in place. A piece with characters outside the alphabet
// is a special token.
func decodeBytes(piece []byte) []byte {
	for i := 0; i < len(piece); {
		r, n := utf8.DecodeRune(piece[i:])
		if int(r) >= len(byteAlphabet) || byteAlphabet[r] == 0 {
			return piece
		}
		i += n
	}
	to := 0
	for i := 0; i < len(piece); {
		r, n := utf8.DecodeRune(piece[i:])
		piece[to] = byte(byteAlphabet[r] - 1)
		to++
		i += n
	}
	return piece[:to]
}

// decodeSentence decodes a piece in place.
func decodeSentence(piece []byte) []byte {
	if isByte(piece) {
		piece[0] = byte(nibble(piece[3])<<4 | nibble(piece[4]))
		return piece[:1]
	}
	to := 0
	for i := 0; i < len(piece); {
		r, n := utf8.DecodeRune(piece[i:])
		if r == '\u2581' {
			piece[to] = ' '
			to++
		} else {
			to += copy(piece[to:], piece[i:i+n])
		}
		i += n
	}
	return piece[:to]
}

// nibble returns the value of a hexadecimal digit, -1 for other characters.
func nibble(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
