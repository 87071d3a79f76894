// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"io"
	"iter"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// errStopped ends the decoder of an answer that was cut off.
var errStopped = errors.New("answer cut off")

// unpacker decompresses an answer as it is written. Decoders read, but an answer
// is written, so the decoder runs as a coroutine: it hands over decoded bytes and
// asks for input. All of it happens on the writing goroutine, and decoded bytes
// are passed on before more input comes.
type unpacker struct {
	out   io.Writer
	next  func() ([]byte, bool)
	stop  func()
	input []byte
	ended bool // there is no more input
	done  bool // the decoder has returned
	err   error
}

func newUnpacker(c coding, out io.Writer) *unpacker {
	u := &unpacker{out: out}
	u.next, u.stop = iter.Pull(func(yield func([]byte) bool) { u.err = u.decode(c, yield) })
	return u
}

// decode is the coroutine. It yields decoded bytes, or nil to ask for input.
func (u *unpacker) decode(c coding, yield func([]byte) bool) error {
	d := newDecoder(c, readerFunc(func(p []byte) (int, error) {
		for len(u.input) == 0 {
			if u.ended {
				return 0, io.EOF
			}
			if !yield(nil) {
				return 0, errStopped
			}
		}
		n := copy(p, u.input)
		u.input = u.input[n:]
		return n, nil
	}))
	defer d.Close()
	buf := sensitive.Make("decompressed answer", 16<<10, 16<<10)
	defer sensitive.Wipe(buf)
	for {
		n, err := d.Read(buf)
		if n > 0 && !yield(buf[:n]) {
			return errStopped
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Write implements io.Writer.
func (u *unpacker) Write(p []byte) (int, error) {
	u.input = p
	if err := u.pump(); err != nil {
		return 0, err
	}
	if u.done && len(u.input) > 0 {
		return 0, errBroken
	}
	u.input = nil // it belongs to the caller
	return len(p), nil
}

// pump runs the decoder until it needs input or has ended.
func (u *unpacker) pump() error {
	for !u.done {
		b, ok := u.next()
		if !ok {
			u.done = true
			break
		}
		if b == nil {
			return nil
		}
		if _, err := u.out.Write(b); err != nil {
			return err
		}
	}
	return u.err
}

// finish decodes the rest. It returns an error if the answer is incomplete.
func (u *unpacker) finish() error {
	u.ended = true
	return u.pump()
}

// readerFunc is a Read method.
type readerFunc func(p []byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
