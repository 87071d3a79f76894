// SPDX-License-Identifier: Apache-2.0

package outlier

import "slices"

// Admit decides which of a pool's upstreams take the next request. It sets Takes of
// each assessment.
//
// At most the share of the options is left out for failures: the least failing
// upstreams beyond it stay. If none would take the request, those that fail least
// take it: busy ones before ejected ones.
func Admit(pool []Assessment, o Options) {
	if o.Off {
		for i := range pool {
			pool[i].Takes = true
		}
		return
	}
	out := 0
	for _, a := range pool {
		if a.State == Out || a.State == HalfOpen {
			out++
		}
	}
	for excess := out - o.maxEjected(len(pool)); excess > 0; excess-- {
		if i := leastFailing(pool, Out); i >= 0 {
			pool[i].Takes, pool[i].State = true, Ready
		}
	}
	if slices.ContainsFunc(pool, func(a Assessment) bool { return a.Takes }) {
		return
	}
	for _, state := range []State{Returning, Busy, HalfOpen, Out} {
		if i := leastFailing(pool, state); i >= 0 {
			pool[i].Takes = true
			return
		}
	}
}

// leastFailing returns the index of the upstream in a state that fails least, -1
// for none.
func leastFailing(pool []Assessment, s State) int {
	least := -1
	for i, a := range pool {
		if a.State == s && (least < 0 || a.FailureShare < pool[least].FailureShare) {
			least = i
		}
	}
	return least
}
