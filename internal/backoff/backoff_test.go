// SPDX-License-Identifier: Apache-2.0

package backoff

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	const first, most = time.Second, 30 * time.Second
	want := []time.Duration{1, 1, 2, 4, 8, 16, 30, 30}
	for failures, seconds := range want {
		if got := Pause(failures, first, most); got != seconds*time.Second {
			t.Errorf("after %d failures: %v, want %v s", failures, got, seconds)
		}
	}
	if got := Pause(1<<30, first, most); got != most {
		t.Errorf("after very many: %v", got)
	}
}

func TestJitter(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: 800, 0.5: 1000, 1: 1200} {
		if got := Jitter(time.Second, random); got != want*time.Millisecond {
			t.Errorf("random %v: %v, want %v ms", random, got, want)
		}
	}
}
