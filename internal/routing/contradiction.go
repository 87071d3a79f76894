// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/bauxite/caddy-kvaware/internal/engine/kvevents"

// mappedPrefix is the part of a prompt that an upstream's events said it held when
// the prompt was sent: what an answer can contradict.
type mappedPrefix struct {
	blocks      int
	blockTokens int
	stores      uint64 // events with stored blocks until then
}

// mappedOn returns what u's events say of the evaluated prompt; nothing where they
// are not up to date, or several ranks might have taken the request. The caller
// holds mu.
func (r *Request) mappedOn(u *upstream) mappedPrefix {
	fu := u.followed
	if fu == nil || len(fu.Ranks) != 1 || fu.evaluation != r.router.evaluation ||
		fu.knowledge(r.router.now()) == kvevents.Unknown {
		return mappedPrefix{}
	}
	feed := fu.Ranks[0]
	return mappedPrefix{fu.mapped, feed.BlockTokens(), feed.Stores()}
}

// contradictEvents corrects what the upstream's events said of the prompt by the
// engine's own counts: it had fewer blocks. The tokens are looked up again, because
// those of the whole prompt may be known by now. A difference within the last text
// block is left alone, for the place of a token there can be an estimate. So only
// blocks of this prompt can go. The caller holds mu.
func (r *Request) contradictEvents(promptTokens, cachedTokens int) {
	m, fu := r.attempt.mapped, r.attempt.upstream.followed
	if m.blocks == 0 || fu == nil || len(fu.Ranks) != 1 || fu.Ranks[0].BlockTokens() != m.blockTokens {
		return
	}
	m.blocks = min(m.blocks, (promptTokens-1)/m.blockTokens)
	held := cachedTokens / m.blockTokens
	if held >= m.blocks {
		return
	}
	key := r.attempt.identity.TokenKey
	key.BlockTokens = m.blockTokens
	space := r.router.index.Space(key)
	chain, tokens, _ := r.router.index.Match(space, r.attempt.identity.Chain, nil)
	m.blocks = min(m.blocks, len(chain))
	if held < m.blocks && held*m.blockTokens+r.blockTokens < tokens {
		fu.Ranks[0].Contradict(chain[:m.blocks], held, m.stores)
	}
}
