// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Spellings of tokens, as /tokenize returns them with return_token_strs.
const (
	// SpellBytes is byte-level BPE, as GPT-2's and most since: each byte is one
	// of 256 characters, a space is Ġ.
	SpellBytes = "bytes"
	// SpellSentence is SentencePiece: a space is ▁, a lone byte <0x0A>.
	SpellSentence = "sentence"
	// SpellText is the text itself.
	SpellText = "text"
)

// specialTokens are the spellings of the control tokens, in their order.
var specialTokens = [...]string{"<|start|>", "<|end|>", "<|call|>", "<|call_end|>", "<|image|>", "<|image_end|>"}

// spell returns how the vocabulary spells a token.
func (c *Config) spell(token uint32) string {
	switch i := token &^ tagMask; {
	case token&tagMask == tagSpecial && i < uint32(len(specialTokens)):
		return specialTokens[i]
	case token&tagMask == tagImage:
		return "<|image_pad|>"
	}
	text := string(AppendText(nil, []uint32{token}))
	switch {
	case text == "":
		return "<unk>"
	case c.Spelling == SpellSentence:
		if len(text) == 1 && text[0] < ' ' {
			return fmt.Sprintf("<0x%02X>", text[0])
		}
		return strings.ReplaceAll(text, " ", "\u2581")
	case c.Spelling == SpellBytes:
		return spellBytes(text)
	}
	return text
}

// spellBytes replaces each byte by its character in byte-level BPE:
// printable ones of Latin-1 as they are, the others as U+0100 and up in their
// order (bytes_to_unicode in
// https://github.com/openai/gpt-2/blob/master/src/encoder.py).
func spellBytes(text string) string {
	var out []byte
	for i := range len(text) {
		out = utf8.AppendRune(out, byteRunes[text[i]])
	}
	return string(out)
}

var byteRunes = func() (runes [256]rune) {
	next := rune(256)
	for b := range runes {
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae:
			runes[b] = rune(b)
		default:
			runes[b] = next
			next++
		}
	}
	return runes
}()
