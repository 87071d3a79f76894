// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

const (
	// maxPage bounds a page of metrics, in bytes. A busy vLLM has some hundred KB
	// of histograms.
	maxPage = 8 << 20
	// maxLine bounds the lines that are read, in bytes; lines that are skipped may
	// be longer. vLLM's longest, cache_config_info, has about 1 KB.
	maxLine   = 16 << 10
	maxLabels = 64 // of a series that is read
	maxNumber = 64 // bytes of a value
)

// Errors of reading an answer. Their texts are fixed and quote nothing of it.
var (
	ErrTooLarge = errors.New("the answer is larger than is read")
	ErrSyntax   = errors.New("the answer is not in the format that was asked for")
)

// sample is one line of Prometheus' text format. Its slices are valid until the
// next line is read.
type sample struct {
	name   []byte
	labels []label
	value  float64
}

type label struct{ name, value []byte }

// label returns the value of a label, or nil.
func (s *sample) label(name string) []byte {
	for i := range s.labels {
		if string(s.labels[i].name) == name {
			return s.labels[i].value
		}
	}
	return nil
}

// readSamples calls visit for every sample whose name is wanted, and looks at no
// other line: those are most of a page, and an error in them is not ours to find.
// It holds one line at a time.
//
// Prometheus' own parser, expfmt, is not used: on a page as long as a real vLLM's
// it takes 38 times the CPU (67 times with 8 ranks), and one bad line anywhere
// fails the page. Only given the wanted lines, it still takes 1.6 to 2.4 times as
// long. See integration/bench/metrics.
func readSamples(r io.Reader, wanted func(name []byte) bool, visit func(*sample) error) error {
	limited := &io.LimitedReader{R: r, N: maxPage + 1}
	in := bufio.NewReaderSize(limited, maxLine)
	p := sampleParser{sample: sample{labels: make([]label, 0, maxLabels)}}
	for {
		line, err := in.ReadSlice('\n')
		if limited.N == 0 {
			return ErrTooLarge
		}
		name := line[:nameLength(line)]
		ours := len(name) > 0 && wanted(name)
		switch {
		case err == nil && ours:
			if !p.parse(line[:len(line)-1], len(name)) {
				return ErrSyntax
			}
			if err := visit(&p.sample); err != nil {
				return err
			}
		case err == nil:
		case err == io.EOF && !ours:
			return nil
		case errors.Is(err, bufio.ErrBufferFull) && !ours:
			if err := skipLine(in); err != nil {
				return err
			}
		case errors.Is(err, bufio.ErrBufferFull), err == io.EOF:
			return ErrSyntax // too long, or cut off: half a number is a wrong number
		default:
			return errTruncated
		}
	}
}

// skipLine reads to the end of the line or of the page.
func skipLine(in *bufio.Reader) error {
	for {
		switch _, err := in.ReadSlice('\n'); {
		case err == nil, err == io.EOF:
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return errTruncated
		}
	}
}

// nameLength returns the length of the metric's name at the start of a line.
func nameLength(line []byte) int {
	for i, c := range line {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(line)
}

// sampleParser parses lines one after the other in the same memory.
type sampleParser struct {
	sample
	rest []byte
}

// parse reads a line whose name has nameLength bytes, strictly:
//
//	name ['{' label '=' '"' value '"' (',' label '=' '"' value '"')* [','] '}'] value [timestamp]
func (p *sampleParser) parse(line []byte, nameLength int) bool {
	p.name, p.rest, p.labels = line[:nameLength], line[nameLength:], p.labels[:0]
	p.skipSpace()
	if len(p.rest) > 0 && p.rest[0] == '{' {
		p.rest = p.rest[1:]
		if !p.readLabels() {
			return false
		}
	} else if len(p.rest) == len(line)-nameLength {
		return false // nothing between the name and what follows
	}
	p.skipSpace()
	var ok bool
	if p.value, ok = number(p.word()); !ok {
		return false
	}
	p.skipSpace()
	if len(p.rest) > 0 { // a timestamp
		if _, err := strconv.ParseInt(string(p.word()), 10, 64); err != nil {
			return false
		}
		p.skipSpace()
	}
	return len(p.rest) == 0
}

func (p *sampleParser) skipSpace() {
	p.rest = bytes.TrimLeft(p.rest, " \t")
}

// word returns the bytes before the next space, or nil when they are too long for
// a number.
func (p *sampleParser) word() []byte {
	end := bytes.IndexAny(p.rest, " \t")
	if end < 0 {
		end = len(p.rest)
	}
	if end > maxNumber {
		return nil
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// number parses a float as Prometheus does: no hexadecimal, no underscores.
func number(word []byte) (float64, bool) {
	text := string(word)
	if text == "" || strings.ContainsAny(text, "xXpP_") {
		return 0, false
	}
	value, err := strconv.ParseFloat(text, 64)
	return value, err == nil
}

// readLabels reads the labels up to the closing brace.
func (p *sampleParser) readLabels() bool {
	for {
		p.skipSpace()
		if len(p.rest) > 0 && p.rest[0] == '}' {
			p.rest = p.rest[1:]
			return true
		}
		n := nameLength(p.rest)
		if n == 0 || len(p.labels) == maxLabels {
			return false
		}
		l := label{name: p.rest[:n]}
		p.rest = p.rest[n:]
		p.skipSpace()
		if !p.accept('=') {
			return false
		}
		p.skipSpace()
		var ok bool
		if l.value, ok = p.quoted(); !ok {
			return false
		}
		p.labels = append(p.labels, l)
		p.skipSpace()
		if !p.accept(',') && (len(p.rest) == 0 || p.rest[0] != '}') {
			return false
		}
	}
}

func (p *sampleParser) accept(c byte) bool {
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// quoted reads a label's value and unescapes it in place.
func (p *sampleParser) quoted() ([]byte, bool) {
	if !p.accept('"') {
		return nil, false
	}
	text, n := p.rest, 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch c {
		case '"':
			p.rest = text[i+1:]
			return text[:n], true
		case '\\':
			if i++; i == len(text) {
				return nil, false
			}
			switch text[i] {
			case '\\', '"':
				c = text[i]
			case 'n':
				c = '\n'
			default:
				return nil, false
			}
		}
		text[n] = c // the line is in the reader's own buffer
		n++
	}
	return nil, false
}
