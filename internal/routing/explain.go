// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// Forecast is the prediction for a request on one upstream.
type Forecast struct {
	Address  string
	Cached   int           // prompt tokens it is predicted to have cached
	External int           // of these, the ones that it loads from outside its GPU
	Wait     time.Duration // until its prefill can begin
	Backlog  time.Duration // wait that the engine's own reports show
	Load     time.Duration // of the external tokens
	Prefill  time.Duration // of the tokens that are not cached
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
		c, m := &rt.scratch.scored[i], rt.scratch.prefixMatches[i]
		load := max(0, m.tokens-m.weighted)
		forecasts[i] = Forecast{
			Address:  candidates[i].Address,
			Cached:   m.tokens,
			External: r.external(rt.scratch.upstreams[i], m),
			Wait:     c.Wait,
			Backlog:  c.Backlog,
			Load:     prefill(load, c.PerToken),
			Prefill:  prefill(c.Uncached-load, c.PerToken),
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
