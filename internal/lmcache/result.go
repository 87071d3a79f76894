// SPDX-License-Identifier: Apache-2.0

package lmcache

import "errors"

// Result is how a call of a Service went.
type Result uint8

// Results of Stage and of Ask. Submitted is on the way of a staging, and
// counted in addition to how it ended; Deduplicated is counted for a caller
// that was given somebody else's. All others are ends.
const (
	Submitted    Result = iota // LMCache has accepted it
	Completed                  // done; for Ask: answered
	Partial                    // done, but not all of it was found below DRAM
	Noop                       // less than one chunk, nothing to do
	Deduplicated               // under way already, or just done
	Limited                    // too many at once, for one node or together
	Broken                     // the node has failed lately and is left alone
	Refused                    // an answer such as 400, or one that is not understood
	NoLayout                   // the engine has not allocated KV memory for the model
	TimedOut                   // not done in time
	Failed                     // not reached, 5xx, or 404 to the order itself
	Lost                       // accepted, but not known any more when asked
	Unmapped                   // no LMCache is known for the upstream
	Unsupported                // this way to LMCache cannot do it
	Late                       // not begun: its time was over before its turn came
	numResults
)

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

// Results returns all of them, for metrics.
func Results() []Result {
	all := make([]Result, numResults)
	for i := range all {
		all[i] = Result(i)
	}
	return all
}

// errBusy: too many prompts are being sent; nobody was asked.
var errBusy = errors.New("too many prompts are being sent to LMCache")

// resultOf is the end that an error of Submit makes.
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

// verdict is what an end says about the health of who was asked.
type verdict uint8

const (
	healthy verdict = iota
	sick
	absent   // the API is not there: no use in asking again soon
	notAsked // nothing was asked
)

// verdictOf judges the error of a call.
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
