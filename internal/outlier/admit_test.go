// SPDX-License-Identifier: Apache-2.0

package outlier

import "testing"

func TestAdmit(t *testing.T) {
	ready := Assessment{State: Ready, Takes: true}
	out := func(share float64) Assessment { return Assessment{State: Out, FailureShare: share} }
	busy := Assessment{State: Busy}
	full := Assessment{State: Returning}
	probed := Assessment{State: HalfOpen}
	for _, c := range []struct {
		name string
		pool []Assessment
		o    Options
		want string // + takes, - does not
	}{
		{"all ready", []Assessment{ready, ready}, Options{}, "++"},
		{"one of two out", []Assessment{out(.9), ready}, Options{}, "-+"},
		{"a single one is never out", []Assessment{out(.9)}, Options{}, "+"},
		{"all out: the least failing stays", []Assessment{out(.9), out(.5), out(.7)}, Options{}, "-+-"},
		{"half may be out", []Assessment{out(.9), out(.5), out(.7), ready}, Options{Share: .5}, "-+-+"},
		{"one may always be out", []Assessment{out(.9), ready, ready, ready}, Options{Share: .1}, "-+++"},
		{"all busy: one takes it", []Assessment{busy, busy}, Options{}, "+-"},
		{"busy rather than ejected", []Assessment{out(.9), busy}, Options{}, "-+"},
		{"returning rather than busy", []Assessment{busy, full}, Options{}, "-+"},
		{"probed already", []Assessment{probed, ready}, Options{}, "-+"},
		{"off", []Assessment{out(.9), busy, ready}, Options{Off: true}, "+++"},
		{"none", nil, Options{}, ""},
	} {
		Admit(c.pool, c.o.WithDefaults())
		got := ""
		for _, a := range c.pool {
			if a.Takes {
				got += "+"
			} else {
				got += "-"
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
