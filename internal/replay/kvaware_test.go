// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"testing"
	"time"
)

// scarce is a setup whose engines have little room: prompts wait for blocks
// rather than for prefill.
func scarce(tokens int) Setup {
	s := defaultSetup()
	s.Model.KVTokens = tokens
	s.Model.DecodeStep = 30 * time.Millisecond
	return s
}

// tracesOf returns some traces of one kind, fewer with -short.
func tracesOf(kind string) (traces []*Trace) {
	n := uint64(4)
	if testing.Short() {
		n = 2
	}
	for seed := range n {
		traces = append(traces, syntheticTrace(kind, 4000, 0.25, seed))
	}
	return traces
}

// meanOf returns the mean time to first token over traces of the same length.
func meanOf(t *testing.T, traces []*Trace, s Setup, policy string) (mean time.Duration) {
	t.Helper()
	for _, trace := range traces {
		mean += mustRun(t, trace, s, policy).TTFT.Mean / time.Duration(len(traces))
	}
	return mean
}

// The prompts share nothing, and a node has room for 13 of them, so only the
// predicted use of blocks helps.
func TestKnownCapacityMakesRoom(t *testing.T) {
	skipUnderRaceDetector(t)
	t.Parallel()
	traces, s := tracesOf("unique"), scarce(40_000)
	s.KVAware.Metrics = false
	known := meanOf(t, traces, s, "kv_aware")
	s.KVAware.Capacity = 0
	if unknown := meanOf(t, traces, s, "kv_aware"); known > unknown*3/4 {
		t.Errorf("mean TTFT %v, and %v without capacity: it does not wait for room", known, unknown)
	}
	for _, policy := range []string{"least_conn", "dynamo", "llm_d"} {
		if theirs := meanOf(t, traces, s, policy); known > theirs {
			t.Errorf("mean TTFT %v, %s %v", known, policy, theirs)
		}
	}
}

// Prompts share blocks, so what they compute does not say how many are taken. The
// engines' metrics do, but only every two seconds.
func TestPromptsThatShareBlocksFindRoom(t *testing.T) {
	skipUnderRaceDetector(t)
	t.Parallel()
	traces, s := tracesOf("chat"), scarce(80_000)
	reported := meanOf(t, traces, s, "kv_aware")
	for _, policy := range []string{"least_conn", "dynamo", "llm_d"} {
		if theirs := meanOf(t, traces, s, policy); reported > theirs*49/50 {
			t.Errorf("mean TTFT %v, %s %v", reported, policy, theirs)
		}
	}
	s.KVAware.Metrics = false
	if without := meanOf(t, traces, s, "kv_aware"); reported > without*51/50 {
		t.Errorf("mean TTFT %v with the engines' metrics, %v without", reported, without)
	}
}

func TestOrderWithFewBlocksOnARecordedTrace(t *testing.T) {
	skipUnderRaceDetector(t)
	trace := sharedTrace(t, "mooncake-conversation.jsonl")
	sizes := []int{300, 200, 600} // blocks of 512 tokens; the longest prompts have 250
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, blocks := range sizes {
		t.Run(fmt.Sprint(blocks, " blocks"), func(t *testing.T) {
			t.Parallel()
			s := scarce(blocks * 512)
			s.Speed = 0.5
			ours := mustRun(t, trace, s, "kv_aware")
			for _, theirs := range runAll(t, trace, s, rivals...) {
				if ours.TTFT.Mean > theirs.TTFT.Mean {
					t.Errorf("mean TTFT %v, but %s has %v", ours.TTFT.Mean, theirs.Policy, theirs.TTFT.Mean)
				}
			}
		})
	}
}
