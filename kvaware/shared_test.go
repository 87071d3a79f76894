// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

func newTestShared() *shared {
	return newShared(2_000_000, func() time.Time { return time.Unix(1000, 0) })
}

// hold makes the fleet believe that address holds a prompt.
func hold(s *shared, address string, chain ...uint64) {
	r := s.router.NewRequest(routing.Prompt{Chain: chain, Tokens: 1000, BlockTokens: 64, Epoch: s.signing.Load().epoch})
	r.Route([]routing.Candidate{{Address: address}}, false)
	r.Confirm()
	r.End()
}

func TestSettingsOfAReload(t *testing.T) {
	s := newTestShared()
	old := &settings{memoryLimit: 2_000_000}
	if s.apply(old) {
		t.Fatal("the first config has emptied the tree")
	}
	hold(s, "n", 1, 2, 3)
	renewed := &settings{memoryLimit: 3_000_000}
	if s.apply(renewed) {
		t.Fatal("the key is the same, the tree was emptied")
	}
	s.withdraw(old) // the old config stops after the new one has started
	if got := s.router.Stats(); got.Limit != 3_000_000 || got.Blocks != 3 {
		t.Fatalf("after the reload: %+v", got)
	}
	keyed := &settings{memoryLimit: 3_000_000, key: []byte("0123456789abcdef")}
	if !s.apply(keyed) {
		t.Fatal("a new key did not empty the tree")
	}
	s.withdraw(renewed)
	if got := s.router.Stats(); got.Blocks != 0 {
		t.Fatalf("under a new key: %+v", got)
	}
}

// A new config that fails to start is stopped again; the running one's
// settings are in force as before.
func TestSettingsOfAFailedReload(t *testing.T) {
	s := newTestShared()
	running := &settings{memoryLimit: 2_000_000}
	s.apply(running)
	failing := &settings{memoryLimit: 5_000_000, key: []byte("0123456789abcdef")}
	s.apply(failing)
	s.withdraw(failing)
	if got := s.router.Stats().Limit; got != 2_000_000 {
		t.Fatalf("limit %d", got)
	}
	if string(s.signing.Load().key) != string(s.random) {
		t.Fatal("the failed config's key is still in force")
	}
	hold(s, "n", 1, 2)
	if got := s.router.Stats().Blocks; got != 2 {
		t.Fatalf("%d blocks recorded under the restored key", got)
	}
	s.withdraw(running)
	s.withdraw(running) // again: nothing to do
}

func TestTheRandomKeyIsRandom(t *testing.T) {
	a, b := newTestShared(), newTestShared()
	if string(a.random) == string(b.random) || len(a.random) < MinHashKey {
		t.Fatalf("keys of %d bytes, equal: %v", len(a.random), string(a.random) == string(b.random))
	}
}

func contextWith(r *http.Request, repl *caddy.Replacer) context.Context {
	return context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)
}
