// SPDX-License-Identifier: Apache-2.0

package following

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// Tokens wait for the first events for a second at most. They are wiped then,
// linked or not.
func TestWaitingTokensAreWiped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewTokenLinker(routing.New(2_000_000, time.Now), nil)
		defer l.Close()
		p := &tokenizedPrompt{SignedPrompt: SignedPrompt{TokenKey: routing.TokenKey{Model: "m"}}, tokens: []uint32{1, 2, 3}}
		l.waiting.Store(1)
		l.enterLater(p)
		time.Sleep((blockSizeTries - 2) * blockSizePause) // virtual
		synctest.Wait()
		if !slices.Equal(p.tokens, []uint32{1, 2, 3}) || l.waiting.Load() != 1 {
			t.Fatalf("it does not wait: %v, %d wait", p.tokens, l.waiting.Load())
		}
		time.Sleep(2 * blockSizePause)
		synctest.Wait()
		if !slices.Equal(p.tokens, []uint32{0, 0, 0}) || l.waiting.Load() != 0 {
			t.Fatalf("after a second: %v, %d wait", p.tokens, l.waiting.Load())
		}
	})
}

// A further attempt at the same prompt is another fetch, and a prompt without a
// chain still has a name.
func TestNamesOfPrompts(t *testing.T) {
	var one, again SignedPrompt
	again.Attempt = 1
	if one.Name() != again.Name() || one.key() == again.key() {
		t.Errorf("names %d and %d, keys %d and %d", one.Name(), again.Name(), one.key(), again.key())
	}
	if len(one.fullChain()) != 0 {
		t.Error("a prompt without blocks has a chain")
	}
}
