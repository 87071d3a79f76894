// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

const (
	// significantFactor is the least factor by which a prefill must be quicker or
	// slower than expected to say something about the cache: more than the costs of
	// prompts differ.
	significantFactor = 2
	// significantTime is the least difference between the time that the cache
	// explains and the one observed: more than a network or an engine's step takes.
	significantTime = 100 * time.Millisecond
)

// inferCached estimates from the time of a prefill how many tokens of a prompt
// were cached, for engines that do not report it. It is only confident when the
// time fits badly to the predicted number, or so well that it fits no other.
func inferCached(took time.Duration, prompt, predicted int, perToken time.Duration) (cached int, confident bool) {
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
