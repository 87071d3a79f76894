// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"slices"
	"sync/atomic"
)

// maxTokens bounds the tokens that all requests of a policy keep together: 16 MiB.
// Waiting lookups can have half of that. Prompts beyond that are not staged.
const maxTokens = 4 << 20

// tokenStore counts the tokens that are kept.
type tokenStore struct{ kept atomic.Int64 }

// sharedTokens are the tokens of a prompt while something uses them. The last user
// to release them wipes them.
type sharedTokens struct {
	ids   []uint32
	users atomic.Int32
	store *tokenStore
}

// keep copies tokens for one user. It returns nil when there are none, or no room.
func (s *tokenStore) keep(ids []uint32) *sharedTokens {
	if len(ids) == 0 {
		return nil
	}
	if s.kept.Add(int64(len(ids))) > maxTokens {
		s.kept.Add(-int64(len(ids)))
		return nil
	}
	t := &sharedTokens{ids: slices.Clone(ids), store: s}
	t.users.Store(1)
	return t
}

// share adds a user; the caller must be one. The function it returns ends that use
// and is to be called once.
func (t *sharedTokens) share() (release func()) {
	t.users.Add(1)
	return t.release
}

// release ends one use.
func (t *sharedTokens) release() {
	if t.users.Add(-1) > 0 {
		return
	}
	clear(t.ids)
	t.store.kept.Add(-int64(len(t.ids)))
}
