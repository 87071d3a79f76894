// SPDX-License-Identifier: Apache-2.0

package metrics

import "testing"

// at returns a reading of a process by its start and its counter.
func at(started, prompt float64) Reading {
	return Reading{Engine: VLLM, Started: started, totals: [4]float64{prompt, -1, -1, -1}}
}

func TestRestarted(t *testing.T) {
	const begin = 1.79462107543e+09
	for _, c := range []struct {
		name     string
		readings []Reading
		want     string // r: restarted, -: not, for each
	}{
		{"one process", []Reading{at(begin, 0), at(begin, 10), at(begin, 10), at(begin, 11)}, "----"},
		{"the start wobbles", []Reading{at(begin, 1), at(begin+0.5, 1), at(begin, 1)}, "---"},
		{"a later start", []Reading{at(begin, 10), at(begin+60, 20), at(begin+60, 21)}, "-r-"},
		{"two engines take turns", []Reading{at(begin, 9), at(begin+60, 5), at(begin, 10), at(begin+60, 6), at(begin, 11)}, "-r---"},
		{"counters fall", []Reading{at(begin, 10), at(begin, 3), at(begin, 4)}, "-r-"},
		{"counters fall, no start", []Reading{at(0, 10), at(0, 3), at(0, 4)}, "-r-"},
		{"two engines take turns, no start", []Reading{at(0, 90), at(0, 5), at(0, 91), at(0, 6), at(0, 92), at(0, 7)}, "-r----"},
		{"twice, with calm between", []Reading{
			at(0, 10), at(0, 1), at(0, 2), at(0, 3), at(0, 4), at(0, 5), at(0, 6), at(0, 7), at(0, 8), at(0, 9), at(0, 1),
		}, "-r--------r"},
		{"a counter that is not told is not lower", []Reading{at(0, 10), at(0, -1), at(0, 10)}, "---"},
		{"the start is no longer told", []Reading{at(begin, 10), at(0, 11), at(begin, 12), at(begin+9, 13)}, "---r"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l restartDetector
			got := ""
			for _, r := range c.readings {
				if l.restarted(r) {
					got += "r"
				} else {
					got += "-"
				}
			}
			if got != c.want {
				t.Fatalf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestSameProcess(t *testing.T) {
	var l restartDetector
	if l.same(at(100, 1)) {
		t.Error("the same as one that was never seen")
	}
	l.restarted(at(100, 10))
	if !l.same(at(100, 10)) || !l.same(at(100.5, 11)) {
		t.Error("not the same")
	}
	for _, r := range []Reading{at(200, 10), at(50, 10), at(0, 10), at(100, 9)} {
		if l.same(r) {
			t.Errorf("%+v counts as certainly the same process", r)
		}
	}
}

func TestResetWhileIdle(t *testing.T) {
	page := func(resets, prompt float64, running, waiting int) Reading {
		return Reading{Engine: VLLM, Started: 100, HasLoad: true, Running: running, Waiting: waiting, resets: resets, totals: [4]float64{prompt, -1, -1, -1}}
	}
	later, unloaded, uncounted := page(1, 10, 0, 0), page(1, 10, 0, 0), page(1, -1, 0, 0)
	later.Started, unloaded.HasLoad = 200, false
	for name, c := range map[string]struct {
		before, now Reading
		want        bool
	}{
		"a reset":              {page(0, 10, 0, 0), page(1, 10, 0, 0), true},
		"another":              {page(3, 10, 0, 0), page(5, 10, 0, 0), true},
		"none":                 {page(1, 10, 0, 0), page(1, 10, 0, 0), false},
		"after work":           {page(0, 10, 0, 0), page(1, 11, 0, 0), false},
		"beside work":          {page(0, 10, 0, 0), page(1, 10, 1, 0), false},
		"beside work before":   {page(0, 10, 1, 0), page(1, 10, 0, 0), false},
		"with a queue":         {page(0, 10, 0, 0), page(1, 10, 0, 1), false},
		"of another process":   {page(0, 10, 0, 0), later, false},
		"the load is not told": {page(0, 10, 0, 0), unloaded, false},
		"nothing is counted":   {page(0, -1, 0, 0), uncounted, false},
	} {
		var l restartDetector
		if l.resetWhileIdle(c.now) {
			t.Errorf("%s: in the first reading", name)
		}
		l.restarted(c.before)
		if got := l.resetWhileIdle(c.now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
