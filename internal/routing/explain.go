// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// Forecast is what is predicted for a request on one upstream.
type Forecast struct {
	Address  string
	Cached   int           // prompt tokens it is predicted to hold
	Wait     time.Duration // until its prefill can begin
	Prefill  time.Duration // of what it does not hold
	InFlight int           // requests it is busy with
}

// Explain tells what Route would go by, for each target, and what it would
// decide. Nothing is reserved or recorded. Without targets the decision has
// none.
func (r *Request) Explain(targets []Candidate) ([]Forecast, Decision) {
	rt := r.router
	rt.mu.Lock()
	defer rt.mu.Unlock()
	longest := r.evaluate(targets)
	if len(targets) == 0 {
		return nil, Decision{Pick: -1, Reason: Fallback}
	}
	forecasts := make([]Forecast, len(targets))
	for i := range targets {
		c := &rt.scratch.candidates[i]
		forecasts[i] = Forecast{
			Address:  targets[i].Address,
			Cached:   rt.scratch.prefixMatches[i].tokens,
			Wait:     c.Wait,
			Prefill:  prefill(c.Uncached, c.PerToken),
			InFlight: c.InFlight,
		}
	}
	return forecasts, r.decide(longest, false)
}
