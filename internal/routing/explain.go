// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// Forecast is the prediction for a request on one upstream.
type Forecast struct {
	Address  string
	Cached   int           // prompt tokens it is predicted to hold
	Wait     time.Duration // until its prefill can begin
	Backlog  time.Duration // wait that the engine's own reports show
	Prefill  time.Duration // of the tokens it does not hold
	InFlight int           // requests it is busy with
	Penalty  time.Duration // that the candidate came with, see Candidate

	// DecodeDelay is the time by which the requests there delay the end of its
	// answer.
	DecodeDelay time.Duration
}

// Explain returns a forecast for each candidate, and the decision that Route
// would make. Nothing is reserved or recorded. Without candidates the decision
// picks none.
func (r *Request) Explain(candidates []Candidate) ([]Forecast, Decision) {
	rt := r.router
	rt.mu.Lock()
	defer rt.mu.Unlock()
	longest := r.evaluate(candidates)
	if len(candidates) == 0 {
		return nil, Decision{Pick: -1, Reason: Fallback}
	}
	forecasts := make([]Forecast, len(candidates))
	for i := range candidates {
		c := &rt.scratch.scored[i]
		forecasts[i] = Forecast{
			Address:  candidates[i].Address,
			Cached:   rt.scratch.prefixMatches[i].tokens,
			Wait:     c.Wait,
			Backlog:  c.Backlog,
			Prefill:  prefill(c.Uncached, c.PerToken),
			InFlight: c.InFlight,
			Penalty:  c.Penalty,

			DecodeDelay: c.DecodeDelay,
		}
	}
	if d, refused := r.refused(); refused {
		return forecasts, d
	}
	return forecasts, r.decide(longest, false)
}
