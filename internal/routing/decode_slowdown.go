// SPDX-License-Identifier: Apache-2.0

package routing

const (
	// decodePrior is the weight of the assumption that decodes do not slow prefill
	// down: tokens, times the squared difference in whether any run, or in how
	// many.
	decodePrior = startTokens * 10

	// slowest and quickest bound the factor by which decodes change the time of a
	// prefill against the average.
	slowest  = 10
	quickest = 0.1
)

// decodeLoad describes the requests that are decoded beside a prefill: whether
// there are any, as 0 or 1, and how many. It also holds means of these, and their
// coefficients.
type decodeLoad struct{ active, requests float64 }

func decodeLoadOf(running int) decodeLoad {
	return decodeLoad{float64(min(max(running, 0), 1)), float64(running)}
}

func (c decodeLoad) minus(o decodeLoad) decodeLoad {
	return decodeLoad{c.active - o.active, c.requests - o.requests}
}

// decodeSlowdown is the share of its time by which a prefill becomes slower when
// anything is decoded beside it, and by which it does for each such request: a
// step reads the model's weights once for all, and each request's own KV cache.
// Engines that mix both in one step share the GPU between them; for those that
// prefill first it stays 0. It is the same for all upstreams, by linear regression
// of the deviation from the upstream's mean cost on the deviation from its mean
// decode load. The zero value has learned nothing.
type decodeSlowdown struct {
	// Fading sums of tokens, times y or the products of x.
	y       decodeLoad
	square  decodeLoad
	product float64
}

// learn adds a prefill of so many tokens that took y times its mean time, with x
// more decoding than on average.
func (d *decodeSlowdown) learn(tokens int, y float64, x decodeLoad) {
	const fade = 1 - 1.0/(8*costMemory) // over all upstreams
	y = min(y, slowest) - 1
	n := float64(tokens)
	d.y = decodeLoad{d.y.active*fade + n*x.active*y, d.y.requests*fade + n*x.requests*y}
	d.square = decodeLoad{d.square.active*fade + n*x.active*x.active, d.square.requests*fade + n*x.requests*x.requests}
	d.product = d.product*fade + n*x.active*x.requests
}

// coefficients returns the shares by least squares, of which none is below 0:
// decodes make nothing quicker.
func (d *decodeSlowdown) coefficients() decodeLoad {
	a, e := d.square.active+decodePrior, d.square.requests+decodePrior
	det := a*e - d.product*d.product // above 0, by Cauchy and Schwarz
	s := decodeLoad{(e*d.y.active - d.product*d.y.requests) / det, (a*d.y.requests - d.product*d.y.active) / det}
	if s.active >= 0 && s.requests >= 0 {
		return s
	}
	// Then one of them is 0: the one that explains less alone.
	s = decodeLoad{max(0, d.y.active) / a, max(0, d.y.requests) / e}
	if s.active*d.y.active > s.requests*d.y.requests {
		s.requests = 0
	} else {
		s.active = 0
	}
	return s
}

// factor returns the slowdown of prefill with more decoding than on average.
func (d *decodeSlowdown) factor(more decodeLoad) float64 { return slowdown(d.coefficients(), more) }

func slowdown(share, more decodeLoad) float64 {
	return min(slowest, max(quickest, 1+share.active*more.active+share.requests*more.requests))
}
