// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"
)

func TestInferCached(t *testing.T) {
	const perToken = 100 * time.Microsecond // 1,000 tokens: the time a network may take
	for _, c := range []struct {
		name              string
		took              time.Duration
		prompt, predicted int
		held              int
		sure              bool
	}{
		{"as predicted", 100 * time.Millisecond, 20_000, 19_000, 19_000, true},
		{"all was gone", 2 * time.Second, 20_000, 19_000, 0, true},
		{"half was gone", time.Second, 20_000, 19_000, 10_000, true},
		{"more was there", 200 * time.Millisecond, 20_000, 0, 16_000, true},
		{"within the noise", 180 * time.Millisecond, 3_000, 1_500, 0, false},
		{"nothing cached, and slow", 3 * time.Second, 20_000, 0, 0, false},
		{"slower than any cache explains", 10 * time.Second, 20_000, 19_000, 0, false},
		{"short prompts tell nothing", 40 * time.Millisecond, 400, 390, 0, false},
		{"nor does a slow network", 90 * time.Millisecond, 900, 890, 0, false},
	} {
		if held, sure := inferCached(c.took, c.prompt, c.predicted, perToken); held != c.held || sure != c.sure {
			t.Errorf("%s: %d %v, want %d %v", c.name, held, sure, c.held, c.sure)
		}
	}
}
