// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"bytes"
	"crypto/sha256"
)

// The tags of the rendition, see internal/prompt. None of these bytes is in UTF-8.
const (
	tagSegment = 0xFF // followed by a byte for its kind
	tagString  = 0xFE
	tagMedia   = 0xFD // followed by a digest
)

const (
	// probeBytes is the number of bytes of a text to search for, and minProbe the
	// least: shorter texts could be anywhere.
	probeBytes = 24
	minProbe   = 16
	// windowBytes bounds the distance between two matches: the text that the template
	// adds in between. windowFactor times the bytes that were not found since come on
	// top.
	windowBytes  = 2048
	windowFactor = 4
	// maxStrides bounds the tries to find the rest of a text.
	maxStrides = 12
	// budgetFactor bounds the bytes that are searched, in lengths of the texts.
	budgetFactor = 16
)

// alignedRun is text that the rendition and the tokens have in common.
type alignedRun struct {
	from, to int  // in the rendition
	at       int  // start in the texts of the tokens
	whole    bool // a text of the rendition ends at to
}

// aligner finds the texts of a rendition, one after the other, in what the chat
// template has made of them.
type aligner struct {
	text      []byte // the rendition
	tokenText []byte // the texts of all tokens
	runs      []alignedRun
	pos       int // end of the last match in tokenText
	budget    int // bytes that may still be searched
	skipped   int // bytes of the rendition since the last match
}

func align(text, tokens []byte) []alignedRun {
	a := aligner{text: text, tokenText: tokens, budget: budgetFactor * (len(text) + len(tokens) + windowBytes)}
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
			a.alignText(i, end)
			i = end
		}
	}
	return a.runs
}

// alignText searches for a text of the rendition.
func (a *aligner) alignText(from, end int) {
	start := from
	for stride := 0; stride < maxStrides && a.budget > 0; stride++ {
		for from < end && isSpace(a.text[from]) { // templates trim
			from++
		}
		if end-from < minProbe {
			break
		}
		if at := a.find(a.text[from:min(from+probeBytes, end)], from-start); at >= 0 {
			n := commonPrefix(a.text[from:end], a.tokenText[at:])
			a.budget -= n
			to := from + n
			rest := bytes.TrimRight(a.text[to:end], " \t\r\n")
			a.runs = append(a.runs, alignedRun{from, to, at, len(rest) == 0})
			a.pos, a.skipped, start, from, stride = at+n, 0, to, to, 0
			if len(rest) == 0 {
				return
			}
		}
		from = min(end, from+max(1, probeBytes<<min(stride, 8)/2))
	}
	a.skipped += end - start
}

// find returns the next place of a text in tokenText, -1 when there is none.
func (a *aligner) find(what []byte, skipped int) int {
	in := a.tokenText[a.pos:min(len(a.tokenText), a.pos+len(what)+windowBytes+windowFactor*(a.skipped+skipped))]
	i := bytes.Index(in, what)
	if i < 0 {
		a.budget -= len(in)
		return -1
	}
	a.budget -= i
	return a.pos + i
}

// commonPrefix returns the number of bytes that a and b have in common at their start.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }
