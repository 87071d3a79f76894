// SPDX-License-Identifier: Apache-2.0

// Package staging has LMCache bring the KV blocks of prompts up to CPU memory
// while their requests are on their way, and the GPU warmed for turns that are
// expected.
package staging

import (
	"context"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// Stager stages the prompts of one policy. It is safe for concurrent use.
type Stager interface {
	// Begin returns the staging task of a request.
	Begin(r Request) Task
	// Consult notes at the candidates how much of a prompt LMCache is known to hold
	// beside them. It keeps the amounts in room, which it returns, and reports
	// whether any are known.
	Consult(p *Prompt, candidates []routing.Candidate, room []routing.Offload) (_ []routing.Offload, known bool)
	// Close ends all staging, and waits for what is under way.
	Close()
}

// Task stages the blocks of one request and of the turn that follows it. Its
// methods are called by the goroutine that serves the request, in this order.
type Task interface {
	// Consult notes at the candidates how much LMCache is known to hold beside them.
	Consult(candidates []routing.Candidate)
	// Send has the prompt's blocks staged where an attempt goes, if that helps, and
	// holds the request for it as long as that is worth it and allowed. It reports
	// whether it has the prompt's tokens fetched for that.
	Send(ctx context.Context, a Attempt) (fetching bool)
	// Await tells the task that the prompt's tokens are being fetched. The function
	// it returns is to be called once: with the tokens, which it copies, or with nil.
	// Any goroutine may call it, at any time.
	Await() (arrived func(ids []uint32))
	// Accepted notes that the engine has accepted the request. It is the last time
	// at which the request can be retained.
	Accepted()
	// Reported notes how many tokens of the prompt the upstream found cached.
	Reported(upstream string, cached int)
	// Unreported notes that the upstream did not report that number: then no staging
	// for it is counted as wasted.
	Unreported(upstream string)
	// ExpectNext stages for the conversation's next turn, which is expected at the
	// same upstream, and has the GPU warmed shortly before it.
	ExpectNext(upstream string)
	// End notes that the request is over, and asks LMCache who holds its prompt now.
	End(accepted bool)
}

// Prompt is a signed prompt.
type Prompt struct {
	Model   string
	Salt    string   // cache_salt, as the engine gets it
	Variant uint64   // of the signature
	Chain   []uint64 // block hashes, first block first; not changed
	Ends    []uint64 // hashes of the ends of the last messages, first message first
	Tools   bool     // the answer may ask for tools to be run
}

// Request is the request of a Task.
type Request interface {
	// Prompt returns its signed prompt.
	Prompt() Prompt
	// Routing returns its routing state.
	Routing() *routing.Request
	// Retain keeps the request beyond its answer, if it can still be kept.
	Retain() (Retained, bool)
}

// Retained is a request that is kept beyond its answer, until Release or Fetch
// lets it go.
type Retained interface {
	API() prompt.API
	// Body returns the scrubbed body.
	Body() []byte
	Salt() string
	// Fetch has the tokens of the prompt fetched from an upstream. Attempts differ
	// where the same prompt's tokens are wanted once more. It calls use with the
	// tokens, which are wiped when use returns, or with nil. It reports false when
	// it will not call use.
	Fetch(upstream string, attempt int, use func(ids []uint32)) bool
	Release()
}

// Attempt is one attempt to send a request.
type Attempt struct {
	Upstream string
	Failed   int // attempts before it, all of which have failed
	// InPool reports whether the attempt could go to an address if all were well.
	InPool func(address string) bool
}

// Nop is a Stager that does nothing.
var Nop Stager = nop{}

type nop struct{}

func (nop) Begin(Request) Task { return nopTask{} }
func (nop) Consult(_ *Prompt, _ []routing.Candidate, room []routing.Offload) ([]routing.Offload, bool) {
	return room[:0], false
}
func (nop) Close() {}

type nopTask struct{}

func (nopTask) Consult([]routing.Candidate)        {}
func (nopTask) Send(context.Context, Attempt) bool { return false }
func (nopTask) Await() func([]uint32)              { return func([]uint32) {} }
func (nopTask) Accepted()                          {}
func (nopTask) Reported(string, int)               {}
func (nopTask) Unreported(string)                  {}
func (nopTask) ExpectNext(string)                  {}
func (nopTask) End(bool)                           {}
