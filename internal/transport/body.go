// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"io"
)

// body is the body of an answer under way.
type body struct {
	io.ReadCloser
	ctx   context.Context // of the request
	tries *Tries
	stop  func()
	ended bool // read to its end
	cut   bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.tries.Attempt.Progress()
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.ended = true
	default:
		b.cut = b.ctx.Err() == nil
	}
	return n, err
}

// Close implements io.Closer. Caddy closes every body that it was given.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.stop()
	if b.cut || !b.tries.Observed {
		b.tries.End(b.ended, b.cut)
	}
	return err
}

// releasing is the body of an answer that is not watched.
type releasing struct {
	io.ReadCloser
	stop func()
}

// Close implements io.Closer.
func (r *releasing) Close() error {
	defer r.stop()
	return r.ReadCloser.Close()
}
