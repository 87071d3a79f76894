// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"io"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// sinkSize bounds the buffer of a sink, in bytes, also for an answer full of
// placeholders for long values.
const sinkSize = 64 << 10

// sink gathers the pieces of one Write into few writes. Restored values are copied
// nowhere else, and the sink wipes them. It keeps the first error of the writer
// and writes nothing after it.
type sink struct {
	w     io.Writer
	b     []byte
	dirty bool // b has held a value since it was last wiped
	err   error
}

func (s *sink) append(p []byte) {
	if len(p) > cap(s.b)-len(s.b) {
		s.room(len(p))
		if len(p) > cap(s.b) {
			s.write(p)
			return
		}
	}
	s.b = append(s.b, p...)
}

// room makes room for n bytes, or flushes when it is better to write n bytes
// directly. It wipes the buffer that it outgrows; append would leave the values in
// it to the garbage collector.
func (s *sink) room(n int) {
	if len(s.b)+n > sinkSize {
		s.flush()
		if n > sinkSize {
			return
		}
	}
	if n <= cap(s.b)-len(s.b) {
		return
	}
	grown := sensitive.Make("answer", len(s.b), min(sinkSize, max(512, 2*(len(s.b)+n))))
	copy(grown, s.b)
	sensitive.Wipe(s.b)
	s.b = grown
}

func (s *sink) flush() {
	if len(s.b) > 0 {
		s.write(s.b)
	}
	if s.dirty {
		sensitive.Wipe(s.b[:len(s.b):len(s.b)])
		s.dirty = false
	}
	s.b = s.b[:0]
}

func (s *sink) write(p []byte) {
	if s.err != nil {
		return
	}
	n, err := s.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	s.err = err
}

// wipe zeroes the buffer and drops it.
func (s *sink) wipe() {
	sensitive.Wipe(s.b)
	s.b = nil
}
