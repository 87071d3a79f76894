// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"testing"
	"time"
)

// scarce is a fleet whose engines have little room: prompts wait for blocks
// rather than for prefill.
func scarce(tokens int) Setup {
	s := defaultSetup()
	s.Model.KVTokens = tokens
	s.Model.DecodeStep = 30 * time.Millisecond
	return s
}

// meanOf returns the mean over some traces of one kind.
func meanOf(t *testing.T, kind string, busy float64, s Setup, policy string) (mean time.Duration) {
	t.Helper()
	const traces = 4
	for seed := range uint64(traces) {
		mean += mustRun(t, syntheticTrace(kind, 4000, busy, seed), s, policy).TTFT.Mean / traces
	}
	return mean
}

// Prompts with nothing in common, and room for 13 of them a node: what is
// predicted for blocks is all there is to know.
func TestKnownCapacityMakesRoom(t *testing.T) {
	skipLong(t)
	s := scarce(40_000)
	s.KVAware.Metrics = false
	knows := meanOf(t, "unique", 0.25, s, "kv_aware")
	s.KVAware.Capacity = 0
	guesses := meanOf(t, "unique", 0.25, s, "kv_aware")
	if knows > guesses*3/4 {
		t.Errorf("mean TTFT %v, and %v without capacity: it does not wait for room", knows, guesses)
	}
	for _, policy := range []string{"least_conn", "dynamo", "llm_d"} {
		if theirs := meanOf(t, "unique", 0.25, s, policy); knows > theirs {
			t.Errorf("mean TTFT %v, %s %v", knows, policy, theirs)
		}
	}
}

// Where prompts share blocks, the engines' word tells how many are taken.
func TestToldUsageMakesRoom(t *testing.T) {
	skipLong(t)
	s := scarce(80_000)
	told := meanOf(t, "chat", 0.25, s, "kv_aware")
	s.KVAware.Metrics = false
	if untold := meanOf(t, "chat", 0.25, s, "kv_aware"); told > untold*19/20 {
		t.Errorf("mean TTFT %v with the engines' metrics, %v without", told, untold)
	}
}

func TestOrderWithFewBlocksOnARecordedTrace(t *testing.T) {
	skipLong(t)
	trace := sharedTrace(t, "mooncake-conversation.jsonl")
	for _, blocks := range []int{200, 300, 600} { // of 512 tokens; the longest prompts have 250
		s := scarce(blocks * 512)
		s.Speed = 0.5
		ours := mustRun(t, trace, s, "kv_aware")
		for _, policy := range rivals {
			if theirs := mustRun(t, trace, s, policy); ours.TTFT.Mean > theirs.TTFT.Mean {
				t.Errorf("%d blocks: mean TTFT %v, but %s has %v", blocks, ours.TTFT.Mean, policy, theirs.TTFT.Mean)
			}
		}
	}
}
