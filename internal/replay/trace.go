// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"time"
)

// Request is one request of a trace. No text is kept of it.
type Request struct {
	At     time.Duration // after the first request of the trace
	Tokens int           // of the prompt, at least 1
	Output int           // tokens of the answer, at least 1
	// Chain holds one hash a prompt block; each stands for all up to its end.
	Chain []uint64
	// Session is equal for requests of one conversation, as the trace says or,
	// where it does not, as far as prompts that continue each other show.
	Session uint64
	// Affinity is what stands for the first 100 characters of the prompt, the
	// key of consistent hashing: in traces without text its first two blocks.
	Affinity uint64
}

// Trace is a list of requests in the order of their arrival.
type Trace struct {
	Requests []Request
	// BlockTokens is how many tokens a block of each Chain stands for; the last
	// one may be shorter.
	BlockTokens int
}

// finish orders the requests, lets time begin at zero and fills in sessions.
func (t *Trace) finish() {
	slices.SortStableFunc(t.Requests, func(a, b Request) int { return int(min(1, max(-1, a.At-b.At))) })
	for i := len(t.Requests) - 1; i >= 0; i-- {
		t.Requests[i].At -= t.Requests[0].At
	}
	t.reconstructSessions()
}

// reconstructSessions gives requests without a session that of the latest
// request whose prompt they continue: the one whose end they hold deepest. A
// prompt's end is its last two blocks, as the last one may be a part of the
// longer one that stands there in the next prompt. The first block of all is
// not asked: it often is a system prompt that all share.
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

// tokens returns the sum of all prompts.
func (t *Trace) tokens() (sum int64) {
	for i := range t.Requests {
		sum += int64(t.Requests[i].Tokens)
	}
	return sum
}
