// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// Tokens that wait for the first engine's word wait for a second at most, and
// are wiped then, linked or not.
func TestTokensThatWaitAreWiped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(2_000_000, time.Now)
		defer s.Destruct()
		p := &tokenised{text: text{lineage: routing.TokenKey{Model: "m"}}, ids: []uint32{1, 2, 3}}
		s.prompts.late.Store(1)
		s.prompts.enterLate(p)
		time.Sleep((lateTries - 2) * latePause)
		synctest.Wait()
		if !slices.Equal(p.ids, []uint32{1, 2, 3}) || s.prompts.late.Load() != 1 {
			t.Fatalf("it does not wait: %v, %d wait", p.ids, s.prompts.late.Load())
		}
		time.Sleep(2 * latePause)
		synctest.Wait()
		if !slices.Equal(p.ids, []uint32{0, 0, 0}) || s.prompts.late.Load() != 0 {
			t.Fatalf("after a second: %v, %d wait", p.ids, s.prompts.late.Load())
		}
	})
}

// A further attempt at the same prompt is another question, and without a chain
// a prompt still has a name.
func TestNamesOfPrompts(t *testing.T) {
	var one, again text
	again.attempt = 1
	if one.name() != again.name() || one.key() == again.key() {
		t.Errorf("names %d and %d, keys %d and %d", one.name(), again.name(), one.key(), again.key())
	}
	if len(one.chain()) != 0 {
		t.Error("a prompt without blocks has a chain")
	}
}
