// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"io"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// bodyReader reads a body with edits applied, without copying it.
//
// Neither the body nor the reader is ever reused. The transport may read on
// after the round trip has returned, and must not read another client's prompt.
type bodyReader struct {
	body  []byte
	edits []prompt.Edit // in order, not overlapping
	at    int           // the position in body
	inNew int           // the position in the new bytes of the first edit
}

func newBodyReader(body []byte, edits []prompt.Edit) *bodyReader {
	return &bodyReader{body: body, edits: edits}
}

// size returns the number of bytes left.
func (b *bodyReader) size() int64 {
	n := len(b.body) - b.at - b.inNew
	for _, e := range b.edits {
		n += len(e.New) - (e.End - e.Start)
	}
	return int64(n)
}

// next returns the next piece, empty at the end.
func (b *bodyReader) next() []byte {
	for len(b.edits) > 0 {
		e := &b.edits[0]
		if b.at < e.Start {
			return b.body[b.at:e.Start]
		}
		if b.inNew < len(e.New) {
			return e.New[b.inNew:]
		}
		b.at, b.inNew = e.End, 0
		b.edits = b.edits[1:]
	}
	return b.body[b.at:]
}

func (b *bodyReader) skip(n int) {
	if len(b.edits) > 0 && b.at >= b.edits[0].Start {
		b.inNew += n
		return
	}
	b.at += n
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	total := 0
	for total < len(p) {
		piece := b.next()
		if len(piece) == 0 {
			break
		}
		n := copy(p[total:], piece)
		b.skip(n)
		total += n
	}
	if total == 0 {
		return 0, io.EOF
	}
	return total, nil
}

// WriteTo implements io.WriterTo, which saves the transport a buffer.
func (b *bodyReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		piece := b.next()
		if len(piece) == 0 {
			return total, nil
		}
		n, err := w.Write(piece)
		b.skip(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// Close implements io.Closer.
func (b *bodyReader) Close() error { return nil }

// Interface guards
var (
	_ io.ReadCloser = (*bodyReader)(nil)
	_ io.WriterTo   = (*bodyReader)(nil)
)
