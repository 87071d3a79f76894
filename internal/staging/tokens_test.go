// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"slices"
	"sync"
	"testing"
)

func TestKeptTokensAreWiped(t *testing.T) {
	var s tokenShelf
	given := []uint32{1, 2, 3}
	k := s.keep(given)
	clear(given) // they are whose they were
	if !slices.Equal(k.ids, []uint32{1, 2, 3}) {
		t.Fatalf("kept %v", k.ids)
	}
	var group sync.WaitGroup
	for range 10 {
		release := k.take()
		group.Go(release)
	}
	group.Wait()
	if !slices.Equal(k.ids, []uint32{1, 2, 3}) || s.kept.Load() != 3 {
		t.Fatalf("with a user left: %v, %d kept", k.ids, s.kept.Load())
	}
	k.release()
	if !slices.Equal(k.ids, []uint32{0, 0, 0}) || s.kept.Load() != 0 {
		t.Fatalf("without users: %v, %d kept", k.ids, s.kept.Load())
	}
}

func TestKeptTokensAreBounded(t *testing.T) {
	var s tokenShelf
	if s.keep(nil) != nil {
		t.Error("nothing was kept")
	}
	half := make([]uint32, maxKeptTokens/2)
	first := s.keep(half)
	second := s.keep(half)
	if first == nil || second == nil || s.keep([]uint32{1}) != nil {
		t.Fatal("the limit is not kept")
	}
	second.release()
	if s.keep([]uint32{1}) == nil {
		t.Fatal("what was let go of still counts")
	}
}
