// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// The simulated vocabulary. A token id contains its text, so that detokenizing
// needs no table and all nodes agree. Ids stay under 2^31 for readers with signed
// 32-bit ids.
const (
	tagQuad    = 0 << 28 // four ASCII bytes, 7 bits each
	tagShort   = 1 << 28 // one to three ASCII bytes: length in bits 21-22
	tagRune    = 2 << 28 // one character outside ASCII
	tagSpecial = 3 << 28 // control tokens of the chat template
	tagImage   = 4 << 28 // 28 bits of an image's hash
	tagMask    = 7 << 28
)

// Control tokens of the simulated chat template. They have no text, like special
// tokens that a detokenizer skips.
const (
	tokenStart    uint32 = tagSpecial + iota // begins a message, before its role
	tokenEnd                                 // ends a message; a model's end of sequence
	tokenCall                                // begins a tool call
	tokenCallEnd                             // ends a tool call
	tokenImage                               // begins an image
	tokenImageEnd                            // ends an image
)

// imageTokens is the number of tokens of a non-text part, without its markers.
const imageTokens = 64

// AppendTokens appends the simulated tokens of text to dst. Runs of ASCII are
// cut into fours from their beginning and every other character is a token of
// its own, about 4 bytes a token in English. Like with a real tokenizer the
// tokens of a text's prefix are a prefix of its tokens, except for the last.
func AppendTokens(dst []uint32, text string) []uint32 {
	for i := 0; i < len(text); {
		if text[i] >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(text[i:])
			dst = append(dst, tagRune|uint32(r))
			i += size
			continue
		}
		end := i + 1
		for end < len(text) && end < i+4 && text[end] < utf8.RuneSelf {
			end++
		}
		dst = append(dst, asciiToken(text[i:end]))
		i = end
	}
	return dst
}

// asciiToken packs one to four ASCII bytes.
func asciiToken(s string) uint32 {
	var bits uint32
	for i := range len(s) {
		bits = bits<<7 | uint32(s[i])
	}
	if len(s) == 4 {
		return tagQuad | bits
	}
	return tagShort | uint32(len(s))<<21 | bits
}

// AppendText appends the text of tokens to dst; it is the inverse of
// AppendTokens for valid UTF-8. Control and image tokens, and ids that
// AppendTokens never makes, have no text.
func AppendText(dst []byte, tokens []uint32) []byte {
	for _, t := range tokens {
		n := 0
		switch t & tagMask {
		case tagQuad:
			if t>>28 == 0 {
				n = 4
			}
		case tagShort:
			n = int(t>>21) & 3
		case tagRune:
			dst = utf8.AppendRune(dst, rune(t&(1<<21-1)))
			continue
		}
		for shift := 7 * (n - 1); shift >= 0; shift -= 7 {
			dst = append(dst, byte(t>>shift)&0x7f)
		}
	}
	return dst
}

// textLen returns how many bytes AppendText appends for one token of
// AppendTokens.
func textLen(t uint32) int {
	switch t & tagMask {
	case tagQuad:
		return 4
	case tagShort:
		return int(t>>21) & 3
	case tagRune:
		return utf8.RuneLen(rune(t & (1<<21 - 1)))
	}
	return 0
}

// appendImage appends the tokens of a part that is not text. Equal parts have
// equal tokens.
func appendImage(dst []uint32, raw []byte) []uint32 {
	dst = append(dst, tokenImage)
	sum := xxhash.Sum64(raw)
	for range imageTokens {
		dst = append(dst, tagImage|uint32(sum>>36))
		sum = sum*6364136223846793005 + 1442695040888963407
	}
	return append(dst, tokenImageEnd)
}

// blockChain returns the chained hashes of all full blocks of tokens, each
// over its own tokens and the hash before it. adapter (empty for the base
// model) and salt seed the chain, as vLLM mixes the adapter's name and
// cache_salt into its block hashes: equal prompts under different ones share
// nothing.
func blockChain(adapter, salt string, tokens []uint32, blockTokens int) []uint64 {
	var d xxhash.Digest
	d.Reset()
	var buf [8]byte
	binary.LittleEndian.PutUint64(buf[:], uint64(len(adapter)))
	_, _ = d.Write(buf[:])
	_, _ = d.WriteString(adapter)
	_, _ = d.WriteString(salt)
	return ChainTokens(d.Sum64(), tokens, blockTokens)
}

// ChainTokens returns the chained hashes of all full blocks of tokens, from a root
// on. They differ from the gateway's own hashes, as those of real engines do.
func ChainTokens(root uint64, tokens []uint32, blockTokens int) []uint64 {
	chain := make([]uint64, 0, len(tokens)/blockTokens)
	block := make([]byte, 8+4*blockTokens)
	for hash := root; len(tokens) >= blockTokens; tokens = tokens[blockTokens:] {
		binary.LittleEndian.PutUint64(block, hash)
		for i, t := range tokens[:blockTokens] {
			binary.LittleEndian.PutUint32(block[8+4*i:], t)
		}
		hash = xxhash.Sum64(block)
		chain = append(chain, hash)
	}
	return chain
}
