// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strconv"
)

const (
	// maxLine bounds a line of a trace: the gateway's default limit of a request
	// body.
	maxLine = 32 << 20
	// maxRequests and maxBlocks bound the memory of a trace.
	maxRequests = 2_000_000
	maxBlocks   = 64_000_000
)

var (
	errLineLong = errors.New("longer than 32 MB")
	errRead     = errors.New("the trace cannot be read")
	errGzip     = errors.New("the trace is broken gzip")
	errRequests = errors.New("more than 2,000,000 requests")
	errBlocks   = errors.New("more than 64,000,000 prompt blocks: take larger ones, or fewer requests")
)

// LineError names the line of a trace that is wrong, without its content.
type LineError struct {
	Line int
	Err  error // has a fixed text
}

func (e *LineError) Error() string { return "line " + strconv.Itoa(e.Line) + ": " + e.Err.Error() }
func (e *LineError) Unwrap() error { return e.Err }

// lineReader reads bounded lines of text, which may be gzipped.
type lineReader struct {
	r      *bufio.Reader
	gz     bool
	number int
	buf    []byte
}

func newLineReader(r io.Reader) (*lineReader, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	if magic, _ := b.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return &lineReader{r: b}, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, errGzip
	}
	return &lineReader{r: bufio.NewReaderSize(z, 1<<16), gz: true}, nil
}

// next returns the next line that is not blank, or io.EOF. The line is valid
// until the next call.
func (l *lineReader) next() ([]byte, error) {
	for {
		line, err := l.raw()
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

func (l *lineReader) raw() ([]byte, error) {
	l.number++
	l.buf = l.buf[:0]
	for {
		piece, err := l.r.ReadSlice('\n')
		if len(l.buf)+len(piece) > maxLine {
			return nil, l.fail(errLineLong)
		}
		switch {
		case err == nil && len(l.buf) == 0:
			return piece, nil
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
			l.buf = append(l.buf, piece...)
			if err == nil {
				return l.buf, nil
			}
		case errors.Is(err, io.EOF):
			if l.buf = append(l.buf, piece...); len(l.buf) == 0 {
				return nil, io.EOF
			}
			return l.buf, nil
		case l.gz:
			return nil, errGzip
		default:
			return nil, errRead
		}
	}
}

func (l *lineReader) fail(err error) error { return &LineError{Line: l.number, Err: err} }
