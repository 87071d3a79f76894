// SPDX-License-Identifier: Apache-2.0

package upstreams

import (
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

func newTestMonitor(t *testing.T) *Monitor {
	m := NewMonitor(routing.New(2_000_000, time.Now), Options{Now: time.Now})
	t.Cleanup(m.Close)
	return m
}

// Two subscribers do not overwrite each other's capacity: the larger one counts
// for as long as its subscriber is there.
func TestTheLargestCapacityCounts(t *testing.T) {
	m := newTestMonitor(t)
	capacity := func() int64 {
		for _, u := range m.router.Upstreams() {
			if u.Address == "a:1" {
				return u.Capacity
			}
		}
		return -1
	}
	small, large, none := &Subscriber{Capacity: 5000}, &Subscriber{Capacity: 8000}, new(Subscriber)
	for range 3 {
		for _, s := range []*Subscriber{large, small, none} {
			m.Refresh(s, []string{"a:1"})
		}
		if got := capacity(); got != 8000 {
			t.Fatalf("capacity %d, want the largest", got)
		}
	}
	if source := m.CapacitySource("a:1", 8000); source != "config" {
		t.Errorf("its source is %q", source)
	}
	m.Leave(large) // its config was replaced
	if got := capacity(); got != 5000 {
		t.Fatalf("capacity %d, want that of the subscriber that is left", got)
	}
	m.Refresh(large, []string{"a:1"}) // by a request that it still has
	if got := capacity(); got != 5000 {
		t.Fatalf("capacity %d, from a config that is gone", got)
	}
	m.Leave(small)
	if got := capacity(); got != 0 {
		t.Fatalf("capacity %d, want none", got)
	}
	if len(m.configured) != 0 {
		t.Errorf("left behind: %v", m.configured)
	}
}

func TestCapacitiesOfGoneUpstreamsAreForgotten(t *testing.T) {
	m := newTestMonitor(t)
	m.Refresh(&Subscriber{Capacity: 5000}, []string{"a:1"})
	m.Forget("a:1")
	if len(m.configured) != 0 {
		t.Errorf("left behind: %v", m.configured)
	}
}
