// SPDX-License-Identifier: Apache-2.0

package fleet

const (
	// decodePrior is how much there must be to go by before running decodes are
	// taken to slow prefill down: tokens times squared difference in running
	// requests.
	decodePrior = startTokens * 100

	// slowest and quickest bound what the decodes of a moment can make of a
	// prefill: ten times as slow as on average, or as quick.
	slowest  = 10
	quickest = 0.1
)

// decode is by what share of its time a prefill becomes slower for each request
// that is decoded beside it. Engines that mix both in one step share the GPU
// between them; those that prefill first show nothing, and it stays 0. It is
// one figure for all upstreams, by linear regression through what first tokens
// deviated from the upstream's mean cost, over how many requests it ran beyond
// its mean. The zero value has learned nothing.
type decode struct {
	joint, square float64 // fading sums of tokens * x * y, and tokens * x^2
}

// learn takes in that a prefill of so many tokens took y times what it takes on
// average, with x more requests running there than on average.
func (d *decode) learn(tokens int, y, x float64) {
	const fade = 1 - 1.0/(8*costMemory) // of all upstreams
	y = min(y, slowest)
	d.joint = d.joint*fade + float64(tokens)*x*(y-1)
	d.square = d.square*fade + float64(tokens)*x*x
}

// share is by what share each further running request makes prefill slower.
func (d *decode) share() float64 { return max(0, d.joint/(d.square+decodePrior)) }

// factor is how much slower prefill is with that many more running than on
// average.
func (d *decode) factor(more float64) float64 { return slowdown(d.share(), more) }

func slowdown(share, more float64) float64 {
	return min(slowest, max(quickest, 1+share*more))
}
