// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

const (
	// telling is how much quicker or slower than expected a prefill must have
	// been to say something about the cache: more than the costs of prompts
	// differ.
	significantFactor = 2
	// tellingTime is how much time must lie between what the cache explains and
	// what it does not: more than a network or a step of the engine takes.
	significantTime = 100 * time.Millisecond
)

// inferHeld estimates from the time a prefill took how many tokens of a prompt
// were in the cache, for engines that do not report it. Predicted is how many
// were thought to be. It is only sure of itself when the time fits badly to
// what was predicted, or so well that it would not fit to anything else.
func inferCached(took time.Duration, prompt, predicted int, perToken time.Duration) (held int, sure bool) {
	if took > significantFactor*prefill(prompt, perToken) {
		return 0, false // no cache explains that
	}
	computed := int(min(int64(prompt), int64(took)/int64(perToken)))
	uncached := prompt - predicted
	apart := int(significantTime / perToken)
	switch {
	case computed > significantFactor*uncached && computed-uncached > apart: // less was there
		return prompt - computed, true
	case significantFactor*computed < uncached && uncached-computed > apart: // more was there
		return prompt - significantFactor*computed, true
	case significantFactor*max(computed, uncached) <= prompt && prompt-max(computed, uncached) > apart:
		return predicted, true
	}
	return 0, false
}
