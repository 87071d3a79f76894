// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

// Bounds of the work: bytes read for each byte of any text, and the growth for
// a text four times as long. Short texts in which each finding leads to another
// one beside it need the most.
const (
	maxWork   = 80
	maxGrowth = 5
)

// TestWorkIsLinear counts the work on repeated pairs of triggers. It does not
// measure time, so a busy machine makes no difference.
func TestWorkIsLinear(t *testing.T) {
	s := scanner(t, Options{})
	spent := 0
	reportWork = func(work int) { spent = work }
	defer func() { reportWork = nil }()
	work := func(text []byte) int {
		spent = 0
		s.Scan(text, nil)
		if spent < len(text) {
			t.Fatalf("%q: %d bytes of %d", text[:40], spent, len(text))
		}
		return spent
	}
	step := 3
	if testing.Short() {
		step = 29
	}
	const size = 3 * foldWindow
	worst, unit := 0.0, ""
	check := func(s string, text func(int) []byte) {
		if few := work(text(edgeMargin)); few > maxWork*edgeMargin {
			t.Errorf("%q: %d bytes looked at for each of a short text", s, few/edgeMargin)
		}
		one := work(text(size))
		if perByte := float64(one) / size; perByte > worst {
			worst, unit = perByte, s
		}
		if one > maxWork*size {
			t.Errorf("%q: %d bytes looked at for each", s, one/size)
		}
		if one > 8*size { // less cannot grow too much either
			if four := work(text(4 * size)); four > maxGrowth*one {
				t.Errorf("%q: %.1f times the work for four times the text", s, float64(four)/float64(one))
			}
		}
	}
	for i, one := range triggers {
		for k, two := range triggers {
			if (i+k)%step == 0 {
				check(one+two, repeated(one+two))
			}
		}
	}
	for _, sh := range hostile {
		check(sh.name, sh.make)
	}
	t.Logf("at most %.1f bytes for each, on %q", worst, unit)
}
