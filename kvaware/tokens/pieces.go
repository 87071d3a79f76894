// SPDX-License-Identifier: Apache-2.0

package tokens

import (
	"bytes"
	"unicode/utf8"
)

// Engines give a token's text in the spelling of its vocabulary
// (convert_ids_to_tokens), which is one of three:
//
//   - byte level BPE (GPT-2 and most since): every byte is a character of an
//     alphabet of 256; see bytes_to_unicode in
//     https://github.com/openai/gpt-2/blob/master/src/encoder.py
//   - SentencePiece: U+2581 for a space, <0x0A> for a byte that is no character
//     of the vocabulary (https://github.com/google/sentencepiece)
//   - the text itself
//
// Special tokens are words in all of them and stay as they are.
type spelling uint8

const (
	spellPlain spelling = iota
	spellBytes
	spellSentence
)

const (
	space   = '\u2581' // of SentencePiece
	spaceB  = '\u0120' // a space in byte level BPE
	newline = '\u010A' // a line feed in byte level BPE
)

// byteOf is the byte that a character of the alphabet stands for, plus one;
// 0 is for characters that are not in it.
var byteOf = func() (table [0x144]uint16) {
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

// decode turns the texts into bytes of the prompt, where they are. No text
// gets longer by that.
func (t *Tokens) decode() {
	spelt := t.spelling()
	if spelt == spellPlain {
		return
	}
	from, to := uint32(0), 0
	for i, end := range t.ends {
		piece := t.arena[from:end]
		from = end
		if spelt == spellBytes {
			piece = decodeBytes(piece)
		} else {
			piece = decodeSentence(piece)
		}
		to += copy(t.arena[to:], piece)
		t.ends[i] = uint32(to)
	}
	clear(t.arena[to:])
	t.arena = t.arena[:to]
}

// spelling tells the spelling from how pieces begin: words begin with a space.
func (t *Tokens) spelling() spelling {
	levels, sentences := 0, 0
	for i := range t.ends {
		piece := t.Text(i)
		switch r, _ := utf8.DecodeRune(piece); {
		case r == spaceB || r == newline:
			levels++
		case r == space, len(piece) == len("<0x00>") && bytes.HasPrefix(piece, []byte("<0x")):
			sentences++
		}
	}
	switch {
	case levels > sentences:
		return spellBytes
	case sentences > 0:
		return spellSentence
	}
	return spellPlain
}

// decodeBytes decodes a piece in place. One with other characters than those
// of the alphabet is a special token.
func decodeBytes(piece []byte) []byte {
	for i := 0; i < len(piece); {
		r, n := utf8.DecodeRune(piece[i:])
		if int(r) >= len(byteOf) || byteOf[r] == 0 {
			return piece
		}
		i += n
	}
	to := 0
	for i := 0; i < len(piece); {
		r, n := utf8.DecodeRune(piece[i:])
		piece[to] = byte(byteOf[r] - 1)
		to++
		i += n
	}
	return piece[:to]
}

// decodeSentence decodes a piece in place.
func decodeSentence(piece []byte) []byte {
	if len(piece) == len("<0x00>") && piece[0] == '<' && piece[1] == '0' && piece[2] == 'x' && piece[5] == '>' {
		hi, lo := nibble(piece[3]), nibble(piece[4])
		if hi >= 0 && lo >= 0 {
			piece[0] = byte(hi<<4 | lo)
			return piece[:1]
		}
	}
	to := 0
	for i := 0; i < len(piece); {
		r, n := utf8.DecodeRune(piece[i:])
		if r == space {
			piece[to] = ' '
			to++
		} else {
			to += copy(piece[to:], piece[i:i+n])
		}
		i += n
	}
	return piece[:to]
}

// nibble is the value of a hexadecimal digit, -1 if it is none.
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
