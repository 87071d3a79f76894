// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"math"
	"testing"
)

func TestParsePriority(t *testing.T) {
	for value, want := range map[string]int32{
		"": 0, "0": 0, "3": 3, "+3": 3, "-12": -12, "high": 0, "1.5": 0, " 1": 0, "0x10": 0,
		"2147483647": math.MaxInt32, "2147483648": math.MaxInt32, "-2147483649": math.MinInt32,
		"99999999999999999999": math.MaxInt32, "-99999999999999999999": math.MinInt32,
	} {
		if got := parsePriority(value); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
}
