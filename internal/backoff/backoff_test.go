// SPDX-License-Identifier: Apache-2.0

package backoff

import (
	"testing"
	"time"
)

func TestPause(t *testing.T) {
	const first, longest = time.Second, 30 * time.Second
	want := []time.Duration{1, 1, 2, 4, 8, 16, 30, 30}
	for failures, seconds := range want {
		if got := Pause(failures, first, longest); got != seconds*time.Second {
			t.Errorf("after %d failures: %v, want %v s", failures, got, seconds)
		}
	}
	if got := Pause(1<<30, first, longest); got != longest {
		t.Errorf("after 2^30 failures: %v, want %v", got, longest)
	}
	if got := Pause(1, 2*longest, longest); got != longest {
		t.Errorf("with a first pause beyond the longest: %v, want %v", got, longest)
	}
}

func TestNext(t *testing.T) {
	const first, longest = 4 * time.Second, 30 * time.Second
	for last, want := range map[time.Duration]time.Duration{0: 4, 1: 4, 2: 4, 3: 6, 15: 30, 16: 30, 60: 30} {
		if got := Next(last*time.Second, first, longest); got != want*time.Second {
			t.Errorf("after %v s: %v, want %v s", int64(last), got, want*time.Second)
		}
	}
}

func TestJitter(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: 800, 0.5: 1000, 1: 1200} {
		if got := Jitter(time.Second, random); got != want*time.Millisecond {
			t.Errorf("random %v: %v, want %v ms", random, got, want)
		}
	}
}
