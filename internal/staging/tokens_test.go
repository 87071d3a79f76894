// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"slices"
	"sync"
	"testing"
)

func TestSharedTokensAreWiped(t *testing.T) {
	var s tokenStore
	given := []uint32{1, 2, 3}
	k := s.keep(given)
	clear(given) // the caller may wipe its own
	if !slices.Equal(k.ids, []uint32{1, 2, 3}) {
		t.Fatalf("kept %v", k.ids)
	}
	var group sync.WaitGroup
	for range 10 {
		release := k.share()
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

func TestSharedTokensAreBounded(t *testing.T) {
	var s tokenStore
	if s.keep(nil) != nil {
		t.Error("no tokens were kept")
	}
	half := make([]uint32, maxTokens/2)
	first := s.keep(half)
	second := s.keep(half)
	if first == nil || second == nil || s.keep([]uint32{1}) != nil {
		t.Fatal("the limit does not hold")
	}
	second.release()
	if s.keep([]uint32{1}) == nil {
		t.Fatal("released tokens still count")
	}
}
