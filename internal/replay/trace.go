// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"strconv"
	"time"
)

// Request is one request of a trace, without its text.
type Request struct {
	At     time.Duration // after the first request of the trace
	Tokens int           // prompt tokens, at least 1
	Output int           // answer tokens, at least 1
	// Chain holds one hash per prompt block, which stands for the prompt up to the
	// block's end.
	Chain []uint64
	// Session is equal for requests of one conversation. Without sessions in the
	// trace it follows from prompts that continue each other.
	Session uint64
	// Affinity is the key of consistent hashing: a hash of the prompt's first 100
	// bytes, or of its first two blocks in traces without text.
	Affinity uint64
}

// Trace is a list of requests in the order of their arrival.
type Trace struct {
	Requests []Request
	// BlockTokens is the number of tokens in a block; the last block of a Chain
	// may be shorter.
	BlockTokens int
	Skipped     Skipped
}

// Skipped counts the rows of a trace that are no usable request.
type Skipped struct {
	Rows  int
	First error // a *LineError: which line it is, and the reason; nil: none
}

func (s *Skipped) add(err error) {
	if s.Rows++; s.First == nil {
		s.First = err
	}
}

// String returns a sentence about the rows, without a full stop; "" when there are none.
func (s *Skipped) String() string {
	switch s.Rows {
	case 0:
		return ""
	case 1:
		return "one row of the trace was skipped: " + s.First.Error()
	}
	return strconv.Itoa(s.Rows) + " rows of the trace were skipped, first " + s.First.Error()
}

// finish sorts the requests, makes times start at zero and fills in sessions.
func (t *Trace) finish() {
	slices.SortStableFunc(t.Requests, func(a, b Request) int { return int(min(1, max(-1, a.At-b.At))) })
	for i := len(t.Requests) - 1; i >= 0; i-- {
		t.Requests[i].At -= t.Requests[0].At
	}
	t.reconstructSessions()
}

// reconstructSessions gives a request without a session the session of the
// prompt that it continues: the one whose end lies deepest in its chain. A
// prompt's end is its last two blocks, because the next prompt may complete the
// last one. The first block does not count: it is often a shared system prompt.
func (t *Trace) reconstructSessions() {
	ends := make(map[uint64]uint64) // block -> session
	next := uint64(1)
	for i := range t.Requests {
		r := &t.Requests[i]
		if r.Session != 0 {
			continue
		}
		for k := len(r.Chain) - 1; k >= 1 && r.Session == 0; k-- {
			r.Session = ends[r.Chain[k]]
		}
		if r.Session == 0 {
			r.Session = next
			next++
		}
		for k := max(1, len(r.Chain)-2); k < len(r.Chain); k++ {
			ends[r.Chain[k]] = r.Session
		}
	}
}

// tokens returns the prompt tokens of all requests.
func (t *Trace) tokens() (sum int64) {
	for i := range t.Requests {
		sum += int64(t.Requests[i].Tokens)
	}
	return sum
}
