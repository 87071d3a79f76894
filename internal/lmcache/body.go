// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"sync"
)

// tokenLoan is the right to read token ids. Their owner may wipe them once it has
// ended, although net/http may go on reading a body after the answer is there.
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

// tokenBody is the body of a request: JSON with one list of token ids. It is
// generated while it is sent, and never in memory as a whole.
type tokenBody struct {
	head, tail []byte // before and after the numbers of the list
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

// reader returns a reader of the whole body.
func (b *tokenBody) reader() io.ReadCloser { return &tokenReader{body: b, rest: b.head} }

// tokenReader reads a tokenBody once.
type tokenReader struct {
	body    *tokenBody
	rest    []byte // generated, but not read yet
	next    int    // index of the next token
	tail    bool   // the tail is in rest, or read
	scratch [16]byte
}

// Read fails once the loan has ended.
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

// more generates the next piece, and reports whether there is one.
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

// Close does nothing: the end of the loan ends the reading.
func (r *tokenReader) Close() error { return nil }

// quote returns s as JSON, with < > and & as they are.
func quote(s string) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // cannot fail: a string into memory
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
