// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"slices"
	"testing"
	"time"
)

func TestTurns(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newNextTurns(func() time.Time { return now })
	if s.arrived(slices.Values([]uint64{1})) != nil {
		t.Fatal("a turn arrived that was not expected")
	}
	first, other := s.expect(1, "a:1"), s.expect(9, "b:1")
	now = now.Add(4 * time.Second)
	if got := s.arrived(slices.Values([]uint64{7, 1, 2})); got != first || first.ctx.Err() == nil || s.usualGap() != 4*time.Second {
		t.Fatalf("turn %v after %v, its context: %v", got, s.usualGap(), first.ctx.Err())
	}
	if other.ctx.Err() != nil {
		t.Fatal("another conversation's turn has arrived too")
	}
	now = now.Add(time.Second)
	if s.arrived(slices.Values([]uint64{1, 2})) != first || s.usualGap() != 4*time.Second {
		t.Fatal("a turn that arrives twice counts twice")
	}
	again := s.expect(9, "c:1") // the same prompt was sent twice
	if other.ctx.Err() == nil || again.ctx.Err() != nil || len(s.oldestFirst) != 2 {
		t.Fatal("one conversation has two expected turns")
	}
	now = now.Add(9 * time.Second)
	s.arrived(slices.Values([]uint64{9}))
	if want := 5 * time.Second; s.usualGap() != want {
		t.Fatalf("the usual gap is %v, want %v", s.usualGap(), want)
	}
}

func TestTurnsAreBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newNextTurns(func() time.Time { return now })
	first := s.expect(0, "a:1")
	for i := range uint64(2 * maxNextTurns) {
		s.expect(i, "a:1")
	}
	if len(s.byPrompt) > maxNextTurns || len(s.oldestFirst) != len(s.byPrompt) || first.ctx.Err() == nil {
		t.Fatalf("%d turns are expected, %d in order, the context of the first: %v", len(s.byPrompt), len(s.oldestFirst), first.ctx.Err())
	}
	now = now.Add(turnTimeout)
	last := s.expect(1<<40, "a:1")
	if len(s.byPrompt) != 1 || len(s.oldestFirst) != 1 {
		t.Fatalf("%d turns are still expected after their time", len(s.byPrompt)-1)
	}
	s.close()
	if last.ctx.Err() == nil || len(s.byPrompt) != 0 {
		t.Fatal("turns are still expected after close")
	}
}
