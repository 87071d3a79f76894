// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
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

	open func(*countingReader) (io.ReadCloser, error)
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
	d := &decoder{in: countingReader{r: r}, coding: c}
	sensitive.Register("compressed data", d.in.buf[:])
	return d
}

// Read implements io.Reader. Errors of the source are returned as they are.
func (d *decoder) Read(p []byte) (int, error) {
	if d.done {
		return 0, io.EOF
	}
	if d.out == nil {
		out, err := d.coding.open(&d.in)
		if err != nil {
			return 0, d.sourceError()
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
	case err == io.EOF && d.atEnd():
		d.done = true
		return n, io.EOF
	}
	return 0, d.sourceError()
}

// cause is the source's error, if that is what stopped the decoder.
func (d *decoder) sourceError() error {
	if d.in.err != nil && d.in.err != io.EOF {
		return d.in.err
	}
	return errBroken
}

// exhausted reports whether nothing follows the compressed data: gzip and zstd
// take what follows for another member, brotli reports it, flate and zlib read
// no byte ahead of a source that is an io.ByteReader, so it is still there.
func (d *decoder) atEnd() bool {
	var probe [1]byte
	n, err := io.ReadFull(&d.in, probe[:])
	return n == 0 && err == io.EOF
}

// Close frees what the decoder holds. The source stays open.
func (d *decoder) Close() error {
	sensitive.Wipe(d.in.buf[:]) // data may be stored in it as it is
	if d.out != nil {
		return d.out.Close()
	}
	return nil
}

// countingReader counts and remembers the error of what it reads. It is an
// io.ByteReader, so that flate does not read ahead through a buffer of its own.
type countingReader struct {
	r      io.Reader
	n      int64
	err    error
	buf    [4096]byte
	lo, hi int // what has been read and not been taken
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	if !c.have(1) {
		return 0, c.err
	}
	n := copy(p, c.buf[c.lo:c.hi])
	c.lo += n
	return n, nil
}

// ReadByte implements io.ByteReader.
func (c *countingReader) ReadByte() (byte, error) {
	if !c.have(1) {
		return 0, c.err
	}
	b := c.buf[c.lo]
	c.lo++
	return b, nil
}

// have reads until n bytes are there to take, if there are that many.
func (c *countingReader) have(n int) bool {
	if c.hi-c.lo >= n {
		return true
	}
	c.hi = copy(c.buf[:], c.buf[c.lo:c.hi])
	c.lo = 0
	for empty := 0; c.hi < n && c.err == nil; empty++ {
		got, err := c.r.Read(c.buf[c.hi:])
		c.hi += got
		c.n += int64(got)
		if c.err = err; got == 0 && empty == 100 && err == nil {
			c.err = io.ErrNoProgress
		}
	}
	return c.hi >= n
}

func openGzip(c *countingReader) (io.ReadCloser, error) { return gzip.NewReader(c) }

// openDeflate opens zlib data (what RFC 9110 means by deflate) and bare
// deflate data (what many send).
func openDeflate(c *countingReader) (io.ReadCloser, error) {
	if c.have(2) && c.buf[c.lo]&0x0f == 8 && (uint(c.buf[c.lo])<<8|uint(c.buf[c.lo+1]))%31 == 0 {
		return zlib.NewReader(c)
	}
	return flate.NewReader(c), nil
}

func openBrotli(c *countingReader) (io.ReadCloser, error) {
	return io.NopCloser(brotli.NewReader(c)), nil
}

func openZstd(c *countingReader) (io.ReadCloser, error) {
	zr, err := zstd.NewReader(c, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
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
