// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"bytes"
	"crypto/sha256"
)

// The tags of the rendition, see internal/prompt: none of these bytes is in UTF-8.
const (
	tagSegment = 0xFF // and a byte that says of what kind
	tagString  = 0xFE
	tagMedia   = 0xFD // and a digest
)

const (
	// probe is how many bytes of a text are looked for, and shortest the least:
	// shorter texts could be anywhere.
	probe    = 24
	shortest = 16
	// ahead is how far behind the last place a text is looked for: what a template
	// says of its own in between, and several times what was not found since.
	ahead      = 2048
	aheadTimes = 4
	// strides is how often a text that was left in the middle is looked for again.
	strides = 12
	// effort bounds what is looked at, in times what the texts are long.
	effort = 16
)

// stretch is text that the rendition and the tokens have in common.
type stretch struct {
	from, to int  // in the rendition
	at       int  // of from, in the texts of the tokens
	whole    bool // a text of the rendition ends at to
}

// aligner finds the texts of a rendition, one after the other, in what the chat
// template has made of them.
type aligner struct {
	text   []byte // of the rendition
	tokens []byte // the texts of all tokens
	found  []stretch
	at     int // in tokens: what was found ends here
	left   int // effort
	passed int // bytes of the rendition since
}

func align(text, tokens []byte) []stretch {
	a := aligner{text: text, tokens: tokens, left: effort * (len(text) + len(tokens) + ahead)}
	for i := 0; i < len(text); {
		switch text[i] {
		case tagSegment:
			i += 2
		case tagString:
			i++
		case tagMedia:
			i += 1 + sha256.Size
		default:
			end := i + 1
			for end < len(text) && text[end] < tagMedia {
				end++
			}
			a.run(i, end)
			i = end
		}
	}
	return a.found
}

// run looks for a text of the rendition.
func (a *aligner) run(from, end int) {
	start := from
	for stride := 0; stride < strides && a.left > 0; stride++ {
		for from < end && isSpace(a.text[from]) { // templates trim
			from++
		}
		if end-from < shortest {
			break
		}
		if at := a.look(a.text[from:min(from+probe, end)], from-start); at >= 0 {
			n := common(a.text[from:end], a.tokens[at:])
			a.left -= n
			to := from + n
			rest := bytes.TrimRight(a.text[to:end], " \t\r\n")
			a.found = append(a.found, stretch{from, to, at, len(rest) == 0})
			a.at, a.passed, start, from, stride = at+n, 0, to, to, 0
			if len(rest) == 0 {
				return
			}
		}
		from = min(end, from+max(1, probe<<min(stride, 8)/2))
	}
	a.passed += end - start
}

// look returns where in the tokens' texts something comes next, -1 when it does not.
func (a *aligner) look(what []byte, skipped int) int {
	in := a.tokens[a.at:min(len(a.tokens), a.at+len(what)+ahead+aheadTimes*(a.passed+skipped))]
	i := bytes.Index(in, what)
	if i < 0 {
		a.left -= len(in)
		return -1
	}
	a.left -= i
	return a.at + i
}

// common is how many bytes a and b have in common at their start.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }
