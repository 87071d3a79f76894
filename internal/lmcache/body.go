// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"sync"
)

// lease is the right to read token ids. Who has lent them may wipe them once
// it has ended: net/http may go on reading a body after the answer is there.
type tokenLoan struct {
	mu     sync.RWMutex
	tokens []uint32
	ended  bool
}

func (l *tokenLoan) end() {
	l.mu.Lock()
	l.tokens, l.ended = nil, true
	l.mu.Unlock()
}

// tokenBody is a request: JSON with one list of token ids in it. It is written
// out while it is sent and never held whole.
type tokenBody struct {
	head, tail []byte // around the digits of the list
	loan       *tokenLoan
}

// size returns its length in bytes.
func (b *tokenBody) size() int64 {
	n := int64(len(b.head) + len(b.tail) + max(len(b.loan.tokens)-1, 0))
	for _, t := range b.loan.tokens {
		n += digits(t)
	}
	return n
}

func digits(t uint32) int64 {
	n := int64(1)
	for ; t >= 10; t /= 10 {
		n++
	}
	return n
}

// reader returns the body from its beginning.
func (b *tokenBody) reader() io.ReadCloser { return &tokenReader{body: b, rest: b.head} }

// tokenReader reads a tokenBody once.
type tokenReader struct {
	body    *tokenBody
	rest    []byte // made, but not read yet
	next    int    // token to come
	tail    bool   // is in rest, or read
	scratch [16]byte
}

// Read fails once the lease has ended.
func (r *tokenReader) Read(p []byte) (n int, err error) {
	l := r.body.loan
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.ended {
		return 0, io.ErrClosedPipe
	}
	for n < len(p) {
		if len(r.rest) == 0 && !r.more(l.tokens) {
			return n, io.EOF
		}
		copied := copy(p[n:], r.rest)
		n += copied
		r.rest = r.rest[copied:]
	}
	return n, nil
}

// more makes the next piece, or reports that there is none.
func (r *tokenReader) more(tokens []uint32) bool {
	switch {
	case r.next < len(tokens):
		dst := r.scratch[:0]
		if r.next > 0 {
			dst = append(dst, ',')
		}
		r.rest = strconv.AppendUint(dst, uint64(tokens[r.next]), 10)
		r.next++
	case !r.tail:
		r.rest, r.tail = r.body.tail, true
	}
	return len(r.rest) > 0
}

// Close does nothing: the lease says when reading is over.
func (r *tokenReader) Close() error { return nil }

// quote returns s as JSON, with < > and & as they are.
func quote(s string) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // cannot fail: a string into memory
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
