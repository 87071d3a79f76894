// SPDX-License-Identifier: Apache-2.0

// Package staging has LMCache bring the KV blocks of prompts from disk or remote
// storage up to CPU memory while their requests are on their way. For
// conversations that pause for tools it does so ahead of the next turn, and can
// have the engine fill its GPU too.
//
// A policy has one Stager, each of its requests one Task. Nothing here fails a request:
// the engine computes the blocks that cannot be staged.
package staging

import (
	"context"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// Stager stages the prompts of one policy. It is safe for concurrent use.
type Stager interface {
	// Begin returns the task of a request.
	Begin(r Request) Task
	// Consult sets the Offload of each candidate whose LMCache is known to hold some
	// of a prompt, and the chunk size of each one's LMCache. It keeps the offloads in buf, which it returns, and reports
	// whether any are known.
	Consult(p *Prompt, candidates []routing.Candidate, buf []routing.Offload) (offloads []routing.Offload, known bool)
	// Close ends all staging and waits for its end.
	Close()
}

// Task stages the blocks of one request, and those of the turn that follows it.
// Only the goroutine that serves the request may call its methods.
type Task interface {
	// Consult sets what is known of each candidate's LMCache, as Stager.Consult does.
	Consult(candidates []routing.Candidate)
	// Send has the prompt's blocks staged at the attempt's upstream, if that helps. It
	// holds the request for the staging while the request gains by that, within the
	// option's limit. It reports whether it has the prompt's tokens fetched.
	Send(ctx context.Context, a Attempt) (fetching bool)
	// Await notes that the prompt's tokens are being fetched. Any goroutine may call
	// the function it returns, once: with the tokens, which it copies, or with nil
	// when there are none.
	Await() (arrived func(ids []uint32))
	// Accepted notes that the engine has accepted the request. It retains the request
	// if that is needed after the answer.
	Accepted()
	// Reported notes the number of the prompt's tokens that the upstream found cached.
	Reported(upstream string, cached int)
	// Unreported notes that the upstream does not report that number, so that no
	// staging for it counts as wasted.
	Unreported(upstream string)
	// ExpectNext stages for the conversation's next turn, which is expected at the
	// same upstream, and has the GPU warmed shortly before it.
	ExpectNext(upstream string)
	// End ends the task. If the engine has accepted the request, LMCache is asked which
	// nodes hold its prompt now: the next turn's routing goes by that.
	End(accepted bool)
}

// Request is the request of a Task.
type Request interface {
	// Prompt returns the signed prompt.
	Prompt() Prompt
	// Routing returns the request's routing state.
	Routing() *routing.Request
	// Retain keeps the request beyond its answer. It reports false when the request
	// has no body any more.
	Retain() (Retained, bool)
}

// Retained is a request that is kept beyond its answer. Either Fetch or Release
// must be called, once.
type Retained interface {
	API() prompt.API
	// Body returns the scrubbed body.
	Body() []byte
	// Salt returns the cache_salt that the engine gets.
	Salt() string
	// Fetch asks an upstream for the prompt's tokens, and releases the request. It
	// calls use with the tokens, which are wiped when use returns, or with nil. It
	// reports false when it will not call use: the tokens are on their way for another
	// request with the same prompt and attempt number, or cannot be had.
	Fetch(upstream string, attempt int, use func(ids []uint32)) bool
	Release()
}

// Attempt is one attempt to send a request.
type Attempt struct {
	Upstream string
	Failed   int // attempts that have failed before
	// InPool reports whether the request could go to an upstream if that were healthy.
	InPool func(upstream string) bool
}

// Nop is a Stager that does nothing.
var Nop Stager = nop{}

type nop struct{}

func (nop) Begin(Request) Task { return nopTask{} }
func (nop) Close()             {}
func (nop) Consult(_ *Prompt, _ []routing.Candidate, buf []routing.Offload) ([]routing.Offload, bool) {
	return buf[:0], false
}

type nopTask struct{}

func (nopTask) Consult([]routing.Candidate)        {}
func (nopTask) Send(context.Context, Attempt) bool { return false }
func (nopTask) Await() func([]uint32)              { return func([]uint32) {} }
func (nopTask) Accepted()                          {}
func (nopTask) Reported(string, int)               {}
func (nopTask) Unreported(string)                  {}
func (nopTask) ExpectNext(string)                  {}
func (nopTask) End(bool)                           {}
