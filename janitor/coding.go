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

// A body above maxRatioFloor that is more than maxRatio times as large as its
// compressed form is a decompression bomb: text compresses by a factor of 3 to
// 20, very repetitive JSON by 100.
const (
	maxRatio      = 200
	maxRatioFloor = 1 << 20
)

// maxWindow is the largest zstd window in bytes, as RFC 9659 limits it for the
// web.
const maxWindow = 8 << 20

var (
	errCoding = errors.New("unknown content coding")
	errBroken = errors.New("broken compressed data")
	errRatio  = errors.New("compressed data expands too far")
)

// coding is a content coding that can be decoded.
type coding struct {
	// name as in Content-Encoding.
	name string

	// memory bounds the bytes that decoding takes besides the output. They count
	// against the in-flight limit like the body.
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

// codingOf reads Content-Encoding. It refuses several codings on top of each
// other like an unknown one: no client sends them, and each layer multiplies the
// size that a few bytes can grow to.
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

// decoder decompresses a body. It returns fixed errors and none of the
// libraries', checks the ratio and allows nothing after the end of the data.
type decoder struct {
	in      countingReader
	out     io.ReadCloser
	coding  coding
	decoded int64
	done    bool
}

// newDecoder returns a decoder that does not read before its first Read.
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

// sourceError returns the error of the source if there is one, else errBroken.
func (d *decoder) sourceError() error {
	if d.in.err != nil && d.in.err != io.EOF {
		return d.in.err
	}
	return errBroken
}

// atEnd reports whether nothing follows the compressed data. gzip and zstd read
// further bytes as another member, and brotli reports them. flate and zlib do
// not read ahead of an io.ByteReader, so they are still there.
func (d *decoder) atEnd() bool {
	var probe [1]byte
	n, err := io.ReadFull(&d.in, probe[:])
	return n == 0 && err == io.EOF
}

// Close frees the memory of the decoder. The source stays open.
func (d *decoder) Close() error {
	sensitive.Wipe(d.in.buf[:]) // compressed data may hold text as it is
	if d.out != nil {
		return d.out.Close()
	}
	return nil
}

// countingReader counts the bytes it reads and remembers the error. It is an
// io.ByteReader, so that flate does not read ahead into a buffer of its own.
type countingReader struct {
	r      io.Reader
	n      int64
	err    error
	buf    [4096]byte
	lo, hi int // the range of buf that was not taken yet
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

// have reads until n bytes can be taken. It reports false if there are fewer.
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

// openDeflate opens zlib data, which RFC 9110 calls deflate, and plain deflate
// data, which many clients send.
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
