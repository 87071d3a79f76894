// SPDX-License-Identifier: Apache-2.0

package routing

const (
	// decodePrior is how much there must be to go by before running decodes are
	// taken to slow prefill down: tokens, times the squared difference in whether
	// any run, or in how many.
	decodePrior = startTokens * 10

	// slowest and quickest bound what the decodes of a moment can make of a
	// prefill: ten times as slow as on average, or as quick.
	slowest  = 10
	quickest = 0.1
)

// company is what is decoded beside a prefill: whether there is anything, as 0
// or 1, and how many requests. Or a mean of these, or what each of them weighs.
type company struct{ any, each float64 }

func companyOf(running int) company {
	return company{float64(min(max(running, 0), 1)), float64(running)}
}

func (c company) minus(o company) company { return company{c.any - o.any, c.each - o.each} }

// decode is by what share of its time a prefill becomes slower when anything is
// decoded beside it, and by what for each request that is: a step reads the
// model's weights once for all, and each request's own KV cache. Engines that
// mix both in one step share the GPU between them; those that prefill first
// show nothing, and it stays 0. It is the same for all upstreams, by linear
// regression through what first tokens deviated from the upstream's mean cost,
// over what it ran beyond its mean. The zero value has learned nothing.
type decode struct {
	// Fading sums of tokens, times y or the products of x.
	y          company
	square     company
	anyAndEach float64
}

// learn takes in that a prefill of so many tokens took y times what it takes on
// average, with x more running there than on average.
func (d *decode) learn(tokens int, y float64, x company) {
	const fade = 1 - 1.0/(8*costMemory) // of all upstreams
	y = min(y, slowest) - 1
	n := float64(tokens)
	d.y = company{d.y.any*fade + n*x.any*y, d.y.each*fade + n*x.each*y}
	d.square = company{d.square.any*fade + n*x.any*x.any, d.square.each*fade + n*x.each*x.each}
	d.anyAndEach = d.anyAndEach*fade + n*x.any*x.each
}

// share is by what share of its time prefill becomes slower, by least squares
// over shares that are not below 0: decodes make nothing quicker.
func (d *decode) share() company {
	a, e := d.square.any+decodePrior, d.square.each+decodePrior
	det := a*e - d.anyAndEach*d.anyAndEach // above 0, by Cauchy and Schwarz
	s := company{(e*d.y.any - d.anyAndEach*d.y.each) / det, (a*d.y.each - d.anyAndEach*d.y.any) / det}
	if s.any >= 0 && s.each >= 0 {
		return s
	}
	// Then one of them is 0: the one that explains less alone.
	s = company{max(0, d.y.any) / a, max(0, d.y.each) / e}
	if s.any*d.y.any > s.each*d.y.each {
		s.each = 0
	} else {
		s.any = 0
	}
	return s
}

// factor is how much slower prefill is with that much more running than on
// average.
func (d *decode) factor(more company) float64 { return slowdown(d.share(), more) }

func slowdown(share, more company) float64 {
	return min(slowest, max(quickest, 1+share.any*more.any+share.each*more.each))
}
