// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// A body that is larger than maxRatioFloor and more than maxRatio times as
// large as what was sent is a decompression bomb: text compresses by 3 to 20,
// very repetitive JSON by 100.
const (
	maxRatio      = 200
	maxRatioFloor = 1 << 20
)

// maxWindow bounds what a zstd stream may ask its reader to keep, as RFC 9659
// does for the web.
const maxWindow = 8 << 20

var (
	errCoding = errors.New("unknown content coding")
	errBroken = errors.New("broken compressed data")
	errRatio  = errors.New("compressed data expands too far")
)

// coding is a content coding that can be opened.
type coding struct {
	// name as in Content-Encoding.
	name string

	// memory that decoding takes at most, in bytes, beside the output: it
	// counts against the in-flight limit like the body itself.
	memory int64

	open func(io.Reader) (io.ReadCloser, error)
}

var (
	identity = coding{name: "identity"}
	codings  = []coding{
		{name: "gzip", memory: 64 << 10, open: openGzip},
		{name: "x-gzip", memory: 64 << 10, open: openGzip},
		{name: "deflate", memory: 64 << 10, open: openDeflate},
		{name: "br", memory: 17 << 20, open: openBrotli},
		{name: "zstd", memory: maxWindow + 2<<20, open: openZstd},
	}
)

// codingOf reads Content-Encoding. Several codings on top of one another are
// as unknown as one that cannot be opened: no client sends them, and each
// layer multiplies what a few bytes can grow to.
func codingOf(h http.Header) (coding, error) {
	found := identity
	for _, line := range h["Content-Encoding"] {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "" || name == identity.name {
				continue
			}
			c, ok := codingByName(name)
			if !ok || found.open != nil {
				return identity, errCoding
			}
			found = c
		}
	}
	return found, nil
}

func codingByName(name string) (coding, bool) {
	for _, c := range codings {
		if c.name == name {
			return c, true
		}
	}
	return coding{}, false
}

// decoder opens a compressed body: fixed errors instead of the libraries',
// the ratio checked, and nothing allowed behind the end of the data.
type decoder struct {
	in      countingReader
	out     io.ReadCloser
	coding  coding
	decoded int64
	done    bool
}

// newDecoder does not read before the first Read.
func newDecoder(c coding, r io.Reader) *decoder {
	return &decoder{in: countingReader{r: r}, coding: c}
}

// Read implements io.Reader. Errors of the source are returned as they are.
func (d *decoder) Read(p []byte) (int, error) {
	if d.done {
		return 0, io.EOF
	}
	if d.out == nil {
		out, err := d.coding.open(&d.in)
		if err != nil {
			return 0, d.cause()
		}
		d.out = out
	}
	n, err := d.out.Read(p)
	d.decoded += int64(n)
	if d.decoded > maxRatioFloor && d.decoded > maxRatio*d.in.n {
		return 0, errRatio
	}
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF && d.exhausted():
		d.done = true
		return n, io.EOF
	}
	return 0, d.cause()
}

// cause is the source's error, if that is what stopped the decoder.
func (d *decoder) cause() error {
	if d.in.err != nil && d.in.err != io.EOF {
		return d.in.err
	}
	return errBroken
}

// exhausted reports whether nothing follows the compressed data. What a
// library has read ahead and ignored does not show here: zlib and flate get a
// reader they cannot read ahead of (see openDeflate), gzip and zstd treat what
// follows as another member, brotli reports it.
func (d *decoder) exhausted() bool {
	var probe [1]byte
	n, err := io.ReadFull(&d.in, probe[:])
	return n == 0 && err == io.EOF
}

// Close frees what the decoder holds. The source stays open.
func (d *decoder) Close() error {
	if d.out != nil {
		return d.out.Close()
	}
	return nil
}

// countingReader counts and remembers the error of what it reads. It is an
// io.ByteReader, so that flate does not read ahead through a buffer of its own.
type countingReader struct {
	r   io.Reader
	n   int64
	err error
	buf [4096]byte
	lo  int
	hi  int
}

func (c *countingReader) Read(p []byte) (int, error) {
	if c.lo == c.hi {
		if !c.fill() {
			return 0, c.err
		}
	}
	n := copy(p, c.buf[c.lo:c.hi])
	c.lo += n
	return n, nil
}

// ReadByte implements io.ByteReader.
func (c *countingReader) ReadByte() (byte, error) {
	if c.lo == c.hi {
		if !c.fill() {
			return 0, c.err
		}
	}
	b := c.buf[c.lo]
	c.lo++
	return b, nil
}

func (c *countingReader) fill() bool {
	for empty := 0; c.err == nil; empty++ {
		n, err := c.r.Read(c.buf[:])
		c.n += int64(n)
		c.err = err
		if c.lo, c.hi = 0, n; n > 0 {
			return true
		}
		if empty == 100 {
			c.err = io.ErrNoProgress
		}
	}
	return false
}

func openGzip(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }

// openDeflate opens zlib data (what RFC 9110 means by deflate) and bare
// deflate data (what many send).
func openDeflate(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 16)
	head, _ := br.Peek(2)
	if len(head) == 2 && head[0]&0x0f == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 {
		zr, err := zlib.NewReader(br)
		return &tailChecked{ReadCloser: zr, tail: br}, err
	}
	return &tailChecked{ReadCloser: flate.NewReader(br), tail: br}, nil
}

// tailChecked refuses data behind the end that was read ahead.
type tailChecked struct {
	io.ReadCloser
	tail *bufio.Reader
}

func (t *tailChecked) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == io.EOF && t.tail.Buffered() > 0 {
		return 0, errBroken
	}
	return n, err
}

func openBrotli(r io.Reader) (io.ReadCloser, error) {
	return io.NopCloser(brotli.NewReader(r)), nil
}

func openZstd(r io.Reader) (io.ReadCloser, error) {
	zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<62))
	if err != nil {
		return nil, err
	}
	return zr.IOReadCloser(), nil
}

// Interface guards
var (
	_ io.ReadCloser = (*decoder)(nil)
	_ io.ByteReader = (*countingReader)(nil)
)
