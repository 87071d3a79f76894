// SPDX-License-Identifier: Apache-2.0

package lmcache

import "errors"

// Result is the outcome of a call of a Service.
type Result uint8

// Results of Stage and of StartLookup. A submitted staging is counted again when it
// ends. Deduplicated is counted for each further request that shares a staging or a
// lookup. All others are ends.
const (
	Submitted    Result = iota // LMCache has accepted it
	Completed                  // done; for a lookup: answered
	Partial                    // done, but less was found below CPU memory than expected
	Noop                       // nothing to do: shorter than one chunk
	Deduplicated               // under way already, or just done
	Limited                    // too many at once, for one node or together
	Broken                     // the node has failed lately and is left alone
	Refused                    // an answer such as 400, or one that is not understood
	NoLayout                   // the engine has not allocated KV memory for the model
	TimedOut                   // not done in time
	Failed                     // not reached, 5xx, or 404 to the order itself
	Lost                       // accepted, but unknown when polled
	Unmapped                   // no LMCache is known for the upstream
	Unsupported                // by the Client
	Late                       // not begun: its deadline passed while it waited
	numResults
)

// done reports whether the staging ended as LMCache's own answer says.
func (r Result) done() bool { return r == Completed || r == Partial || r == Noop }

var resultNames = [numResults]string{
	"submitted", "completed", "partial", "noop", "deduplicated", "limited", "broken", "refused",
	"no_layout", "timeout", "failed", "lost", "unmapped", "unsupported", "late",
}

// String returns the result as metrics name it.
func (r Result) String() string {
	if r < numResults {
		return resultNames[r]
	}
	return "unknown"
}

// Results returns all results, for metrics.
func Results() []Result {
	all := make([]Result, numResults)
	for i := range all {
		all[i] = Result(i)
	}
	return all
}

// errBusy says that too many prompts are being sent. LMCache was not asked.
var errBusy = errors.New("too many prompts are being sent to LMCache")

// resultOf returns the result that an error of a Client stands for.
func resultOf(err error) Result {
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrAnswer):
		return Refused
	case errors.Is(err, ErrNoLayout):
		return NoLayout
	case errors.Is(err, ErrTimeout):
		return TimedOut
	case errors.Is(err, errBusy):
		return Limited
	case errors.Is(err, ErrUnmapped):
		return Unmapped
	case errors.Is(err, ErrUnsupported):
		return Unsupported
	}
	return Failed
}

// verdict judges the health of a node's LMCache by the end of a call.
type verdict uint8

const (
	healthy verdict = iota
	sick
	absent   // it does not have the API: asking again soon is of no use
	notAsked // the call was not made
)

// verdictOf returns the verdict of a call, by its error.
func verdictOf(err error) verdict {
	switch {
	case err == nil, errors.Is(err, ErrRefused), errors.Is(err, ErrNoLayout):
		return healthy
	case errors.Is(err, ErrNotFound):
		return absent
	case errors.Is(err, ErrUnmapped), errors.Is(err, ErrUnsupported), errors.Is(err, errBusy):
		return notAsked
	}
	return sick // unreachable, time-out, 5xx, garbage
}
