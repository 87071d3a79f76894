// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	want := []time.Duration{1, 1, 2, 4, 8, 16, 30, 30}
	for failures, seconds := range want {
		if got := backoff(failures, goneFirst, goneMost); got != seconds*time.Second {
			t.Errorf("after %d failures: %v, want %v s", failures, got, seconds)
		}
	}
	if got := backoff(1<<30, goneFirst, goneMost); got != goneMost {
		t.Errorf("after very many: %v", got)
	}
}

func TestJitter(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: 800, 0.5: 1000, 1: 1200} {
		if got := jitter(time.Second, random); got != want*time.Millisecond {
			t.Errorf("random %v: %v, want %v ms", random, got, want)
		}
	}
}
