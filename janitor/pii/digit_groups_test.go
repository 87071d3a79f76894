// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestGroupings(t *testing.T) {
	for _, c := range []struct{ grouping, match, noMatch string }{
		{"11", "44051401458", "44051401458abc"},
		{"3.3.3-2", "111.444.777-35", "111.444.777.35"},
		{"3_3_4", "943-476-5919", "943-476 5919"}, // one kind of separator
		{"4_4_4", "4001 2345 6787", "4001 2345 6787abc"},
		{"2.3.3/4-2", "11.222.333/0001-81", "11.222.333-0001/81"},
	} {
		g := parseGroupings(c.grouping)[0]
		checkChainRules(t, []chainRule{{c.grouping, func(c *chain, i, _ int) bool { return g.matches(c, i) }, c.match, c.noMatch}})
	}
	if list := parseGroupings("11 !2_2"); len(list) != 2 || list[0].sure || !list[1].sure || len(list[1].lens) != 2 {
		t.Errorf("two groupings, the second sure: got %+v", list)
	}
}
