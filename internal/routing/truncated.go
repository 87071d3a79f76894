// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/bauxite/caddy-kvaware/radixcache"

// maxTruncatedPrompts bounds the truncated prompts that are remembered.
const maxTruncatedPrompts = 8192

// truncatedPrompts holds the lengths of prompts whose chain was truncated by a
// depth limit. An upstream that holds a whole truncated chain may well hold what
// came behind it: as much as was ever sent there behind that chain. The oldest
// entry goes first. The zero value is empty.
type truncatedPrompts struct {
	longest map[truncatedPrompt]int
	order   []truncatedPrompt // a ring, once full
	next    int
}

type truncatedPrompt struct {
	upstream radixcache.Upstream
	end      uint64 // the chain's last hash, which covers all of it
}

// add notes that an upstream has accepted a prompt of that many tokens.
func (c *truncatedPrompts) add(up radixcache.Upstream, chain []uint64, tokens int) {
	if len(chain) == 0 {
		return
	}
	key := truncatedPrompt{up, chain[len(chain)-1]}
	if known, ok := c.longest[key]; ok {
		c.longest[key] = max(known, tokens)
		return
	}
	if c.longest == nil {
		c.longest = make(map[truncatedPrompt]int)
	}
	if len(c.order) < maxTruncatedPrompts {
		c.order = append(c.order, key)
	} else {
		delete(c.longest, c.order[c.next])
		c.order[c.next] = key
		c.next = (c.next + 1) % maxTruncatedPrompts
	}
	c.longest[key] = tokens
}

// tokens returns the length of the longest prompt behind a whole chain that was
// sent there.
func (c *truncatedPrompts) tokens(up radixcache.Upstream, chain []uint64) int {
	if len(c.longest) == 0 || len(chain) == 0 {
		return 0
	}
	return c.longest[truncatedPrompt{up, chain[len(chain)-1]}]
}
