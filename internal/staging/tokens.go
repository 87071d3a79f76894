// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"slices"
	"sync/atomic"
)

// maxKeptTokens is how many tokens all requests of a policy may keep together:
// 16 MiB, of which lookups that wait can have half. What is beyond that is not
// staged.
const maxKeptTokens = 4 << 20

// tokenShelf counts the tokens that are kept.
type tokenShelf struct{ kept atomic.Int64 }

// keptTokens are the tokens of a prompt for as long as somebody uses them. The
// last one to let go of them wipes them.
type keptTokens struct {
	ids   []uint32
	users atomic.Int32
	shelf *tokenShelf
}

// keep copies tokens, for one user; nil when there are none, or no room.
func (s *tokenShelf) keep(ids []uint32) *keptTokens {
	if len(ids) == 0 {
		return nil
	}
	if s.kept.Add(int64(len(ids))) > maxKeptTokens {
		s.kept.Add(-int64(len(ids)))
		return nil
	}
	k := &keptTokens{ids: slices.Clone(ids), shelf: s}
	k.users.Store(1)
	return k
}

// take adds a user, who has one already. It returns what ends the use, to be
// called once.
func (k *keptTokens) take() (release func()) {
	k.users.Add(1)
	return k.release
}

// release ends one use.
func (k *keptTokens) release() {
	if k.users.Add(-1) > 0 {
		return
	}
	clear(k.ids)
	k.shelf.kept.Add(-int64(len(k.ids)))
}
