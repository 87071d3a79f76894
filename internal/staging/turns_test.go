// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"slices"
	"testing"
	"time"
)

func TestTurns(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newTurns(func() time.Time { return now })
	if s.arrived(slices.Values([]uint64{1})) != nil {
		t.Fatal("a turn that nobody expected")
	}
	first, other := s.expect(1, "a:1"), s.expect(9, "b:1")
	now = now.Add(4 * time.Second)
	if got := s.arrived(slices.Values([]uint64{7, 1, 2})); got != first || first.ctx.Err() == nil || s.usualGap() != 4*time.Second {
		t.Fatalf("%v after %v, over: %v", got, s.usualGap(), first.ctx.Err())
	}
	if other.ctx.Err() != nil {
		t.Fatal("another conversation is over too")
	}
	now = now.Add(time.Second)
	if s.arrived(slices.Values([]uint64{1, 2})) != first || s.usualGap() != 4*time.Second {
		t.Fatal("a turn that comes twice counts twice")
	}
	again := s.expect(9, "c:1") // the same was asked once more
	if other.ctx.Err() == nil || again.ctx.Err() != nil || len(s.order) != 2 {
		t.Fatal("the same conversation is expected twice")
	}
	now = now.Add(9 * time.Second)
	s.arrived(slices.Values([]uint64{9}))
	if want := 5 * time.Second; s.usualGap() != want {
		t.Fatalf("the usual gap is %v, want %v", s.usualGap(), want)
	}
}

func TestTurnsAreBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newTurns(func() time.Time { return now })
	first := s.expect(0, "a:1")
	for i := range uint64(2 * maxTurns) {
		s.expect(i, "a:1")
	}
	if len(s.byEnd) > maxTurns || len(s.order) != len(s.byEnd) || first.ctx.Err() == nil {
		t.Fatalf("%d are expected, %d in order, the first is over: %v", len(s.byEnd), len(s.order), first.ctx.Err())
	}
	now = now.Add(turnFor)
	last := s.expect(1<<40, "a:1")
	if len(s.byEnd) != 1 || len(s.order) != 1 {
		t.Fatalf("%d are expected that never came", len(s.byEnd)-1)
	}
	s.close()
	if last.ctx.Err() == nil || len(s.byEnd) != 0 {
		t.Fatal("closed, and turns are still expected")
	}
}
