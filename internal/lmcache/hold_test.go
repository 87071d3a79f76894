// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"math"
	"testing"
	"time"
)

func TestHoldTime(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct{ gain, expected, limit, want time.Duration }{
		{500 * ms, 40 * ms, 100 * ms, 100 * ms},
		{500 * ms, 100 * ms, 100 * ms, 100 * ms},
		{500 * ms, 101 * ms, 100 * ms, 0}, // the hold would be over first
		{80 * ms, 40 * ms, 100 * ms, 80*ms - 1},
		{40 * ms, 40 * ms, 100 * ms, 0}, // nothing is gained
		{101 * ms, 0, 100 * ms, 100 * ms},
		{100 * ms, 0, 100 * ms, 100*ms - 1},
		{500 * ms, 40 * ms, 0, 0}, // not allowed
		{0, 0, 100 * ms, 0},
		{-ms, 0, 100 * ms, 0},
		{1, 1, 1, 0},
	} {
		got := HoldTime(c.gain, c.expected, c.limit)
		if got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
		if got > 0 && got >= c.gain || got > max(c.limit, 0) {
			t.Errorf("%+v: held for %v", c, got)
		}
	}
}

func TestGain(t *testing.T) {
	for _, c := range []struct {
		tokens int
		cost   float64
		want   time.Duration
	}{{8000, 0.000125, time.Second}, {0, 1, 0}, {-5, 1, 0}, {5, -1, 0}, {5, math.NaN(), 0}, {1 << 40, 1e30, 1<<63 - 1}} {
		if got := Gain(c.tokens, c.cost); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
