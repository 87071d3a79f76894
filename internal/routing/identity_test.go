// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// identityOf returns the identity of a text under a lineage.
func identityOf(lineage, text string) Identity {
	return Identity{Chain: chainOf(lineage + ":" + text)[len(lineage)+1:], TokenKey: TokenKey{Model: lineage}}
}

// identifiedRequest returns a request for a text whose usual lineage is the first.
func (rt *Router) identifiedRequest(lineage, text string) *Request {
	own := identityOf(lineage, text)
	return rt.NewRequest(Prompt{
		Chain: own.Chain, TokenKey: own.TokenKey, Tokens: len(text)*letterTokens + 1, BlockTokens: letterTokens,
		Bytes: len(text) * letterBytes, BlockBytes: letterBytes,
	})
}

// TestIdentitiesAgainstModel sends prompts under names that stand for other lineages
// at each upstream, and compares the predictions with the longest common prefix of
// what each upstream has answered under that lineage.
func TestIdentitiesAgainstModel(t *testing.T) {
	at := map[string]map[string]string{ // lineage by upstream and name
		"one":   {"x": "x", "y": "x", "z": "z"},
		"two":   {"x": "y", "y": "y", "z": "z"},
		"three": {"x": "x", "y": "y", "z": "x"},
	}
	addresses, names := []string{"one", "two", "three"}, []string{"x", "y", "z"}
	for seed := range seeds(20) {
		random := rand.New(rand.NewPCG(seed, 7))
		rt, _ := newTestRouter()
		held := make(map[string][]string) // texts by upstream and lineage
		open := []func(){}
		for step := range 300 {
			name := names[random.IntN(3)]
			text := fmt.Sprint(random.IntN(3), random.IntN(3), random.IntN(3), random.IntN(9))
			usual := at[addresses[random.IntN(3)]][name]
			identities := make(map[string]*Identity)
			candidates := make([]Candidate, 3)
			for i, k := range random.Perm(3) {
				lineage := at[addresses[k]][name]
				candidates[i].Address = addresses[k]
				if lineage == usual {
					continue
				}
				if identities[lineage] == nil {
					identity := identityOf(lineage, text)
					identities[lineage] = &identity
				}
				candidates[i].Identity = identities[lineage]
			}
			r := rt.identifiedRequest(usual, text)
			for pending := len(open) > 4 || random.IntN(3) == 0; pending && len(open) > 0; pending = random.IntN(2) == 0 {
				open[0]()
				open = open[1:]
			}
			if len(open) > 0 {
				continue // the model has no pending records
			}
			forecasts, _ := r.Explain(candidates)
			for _, f := range forecasts {
				want := 0
				for _, other := range held[f.Address+at[f.Address][name]] {
					want = max(want, common(other, text))
				}
				if f.Cached != want*letterTokens {
					t.Fatalf("seed %d, step %d: %q as %q at %s: %d tokens, want %d", seed, step, text, name, f.Address, f.Cached, want*letterTokens)
				}
			}
			for range 1 + random.IntN(2) { // requests that overlap
				i := random.IntN(3)
				r := rt.identifiedRequest(usual, text)
				address := candidates[i].Address
				r.Assign(candidates[i])
				failed := random.IntN(3) == 0
				open = append(open, func() {
					if !failed {
						r.Confirm()
						held[address+at[address][name]] = append(held[address+at[address][name]], text)
					}
					r.End()
				})
			}
			random.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
		}
	}
}

// common returns the length of the common prefix of two texts.
func common(a, b string) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// A prompt is found in the events of an upstream under its lineage there.
func TestEventsUnderAnotherIdentity(t *testing.T) {
	rt, _ := newTestRouter()
	one, two := rt.followRanks("one", 1)[0], rt.followRanks("two", 1)[0]
	publish(t, one, 0, idsOf("abcd"))
	publish(t, two, 0, idsOf("abcdef"))
	for lineage, text := range map[string]string{"x": "abcd", "y": "abcdef"} {
		rt.linkIdentity(t, identityOf(lineage, text), text)
	}
	other := identityOf("y", "abcdefg")
	r := rt.identifiedRequest("x", "abcdefg")
	forecasts, _ := r.Explain([]Candidate{{Address: "one"}, {Address: "two", Identity: &other}})
	if forecasts[0].Cached != 4*letterTokens || forecasts[1].Cached != 6*letterTokens {
		t.Errorf("%d tokens as x, %d as y", forecasts[0].Cached, forecasts[1].Cached)
	}
	if r.TokensKnown() {
		t.Error("all its tokens as x are known, of which only a part is")
	}
	if forecasts, _ = r.Explain([]Candidate{{Address: "one"}, {Address: "two"}}); forecasts[1].Cached != 4*letterTokens {
		t.Errorf("%d tokens at two as x", forecasts[1].Cached)
	}
	r.Assign(Candidate{Address: "two", Identity: &other})
	r.Reported(7*letterTokens+1, 2*letterTokens) // it had lost the rest
	r.End()
	r = rt.identifiedRequest("x", "abcdefg")
	if forecasts, _ = r.Explain([]Candidate{{Address: "two", Identity: &other}}); forecasts[0].Cached != 2*letterTokens {
		t.Errorf("%d tokens after an answer that contradicts", forecasts[0].Cached)
	}
}
