// SPDX-License-Identifier: Apache-2.0

package following

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/tokenize"
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

// An engine that has been restarted with another option is asked again.
func TestRestartedEngineIsAskedAgain(t *testing.T) {
	renders, asked := false, 0
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		if !renders {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"token_ids":[1,2,3],"features":null}`)
	}))
	defer engine.Close()
	reported := 0
	l := NewTokenLinker(routing.New(2_000_000, time.Now), func(string, string) { reported++ })
	defer l.Close()
	upstream := engine.Listener.Addr().String()
	fetch := func(want error) {
		t.Helper()
		found, err := l.fetcher.Fetch(t.Context(), upstream, prompt.Messages, []byte(`{"model":"m","messages":[{"role":"user","content":"a"}]}`))
		if err != want || (found == nil) != (err != nil) {
			t.Fatalf("%+v, %v; want %v", found, err, want)
		}
	}
	fetch(tokenize.ErrUnavailable)
	l.missing.note(upstream, "messages")
	renders = true
	fetch(tokenize.ErrUnavailable)
	if l.missing.note(upstream, "messages"); asked != 1 || reported != 1 {
		t.Errorf("asked %d times, reported %d times; want once", asked, reported)
	}
	l.Restarted(upstream)
	fetch(nil)
	if l.missing.note(upstream, "messages"); reported != 2 {
		t.Errorf("reported %d times after a restart, want twice", reported)
	}
}
