// SPDX-License-Identifier: Apache-2.0

package kvaware

import "testing"

// Two policies do not overwrite each other's capacity, whoever has the last
// word: the larger one counts for as long as its policy is there.
func TestTheLargestCapacityCounts(t *testing.T) {
	s := newTestShared()
	t.Cleanup(func() { s.Destruct() })
	newPolicy := func(capacity int64) *Policy {
		p := &Policy{Capacity: capacity, shared: s, sight: new(sight)}
		s.enlist(p)
		return p
	}
	capacity := func() int64 {
		for _, u := range s.router.Upstreams() {
			if u.Address == "a:1" {
				return u.Capacity
			}
		}
		return -1
	}
	small, large, none := newPolicy(5000), newPolicy(8000), newPolicy(0)
	for range 3 {
		for _, p := range []*Policy{large, small, none} {
			s.engines.give("a:1", p)
		}
		if got := capacity(); got != 8000 {
			t.Fatalf("capacity %d, want the largest", got)
		}
	}
	if source := s.engines.capacitySource("a:1", 8000); source != "config" {
		t.Errorf("its source is %q", source)
	}
	s.dismiss(large) // its config was replaced
	if got := capacity(); got != 5000 {
		t.Fatalf("capacity %d, want that of the policy that is left", got)
	}
	s.engines.give("a:1", large) // a request that it still has
	if got := capacity(); got != 5000 {
		t.Fatalf("capacity %d, from a config that is gone", got)
	}
	s.dismiss(small)
	if got := capacity(); got != 0 {
		t.Fatalf("capacity %d, want none", got)
	}
	if len(s.engines.given) != 0 {
		t.Errorf("left behind: %v", s.engines.given)
	}
}

func TestCapacitiesOfGoneUpstreamsAreForgotten(t *testing.T) {
	s := newTestShared()
	t.Cleanup(func() { s.Destruct() })
	p := &Policy{Capacity: 5000, shared: s, sight: new(sight)}
	s.engines.give("a:1", p)
	s.engines.forget("a:1")
	if len(s.engines.given) != 0 {
		t.Errorf("left behind: %v", s.engines.given)
	}
}
