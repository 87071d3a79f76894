// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"testing"
	"time"
)

// Recorded coding agents wait for their first tokens no longer than with exact
// knowledge of every cache and of the future. What the gateway does against failing
// engines costs healthy ones nothing.
func TestTTFTOfRecordedAgents(t *testing.T) {
	trace := sharedTrace(t, "miniswe.jsonl.gz")
	for _, nodes := range []int{4, 8, 32} {
		s := defaultSetup()
		s.Nodes = nodes
		ours, exact := mustRun(t, trace, s, "kv_aware").TTFT, mustRun(t, trace, s, "exact").TTFT
		for name, d := range map[string][2]time.Duration{
			"mean": {ours.Mean, exact.Mean}, "p50": {ours.P50, exact.P50}, "p90": {ours.P90, exact.P90}, "p99": {ours.P99, exact.P99},
		} {
			if float64(d[0]) > 1.03*float64(d[1]) {
				t.Errorf("%d nodes: TTFT %s is %v, with exact knowledge %v", nodes, name, d[0], d[1])
			}
		}
	}
}
