// SPDX-License-Identifier: Apache-2.0

package upstreams

import "sync"

// warnAfter answers without a count of cached tokens are the least that a warning
// needs: one with the count may come among the first.
const warnAfter = 8

// CacheReports remembers which upstreams report cached tokens, so that the log warns
// once of those that seem not to, with the cure. The zero value is empty.
type CacheReports struct {
	mu     sync.Mutex
	byAddr map[string]*cacheReport
}

type cacheReport struct {
	quiet   bool // it has reported, or there was a warning
	missing int  // answers without the count
	unasked int  // of these, streams that had no usage because the client did not ask
}

const (
	unaskedUsage = "clients stream without stream_options.include_usage, so their answers report no cached tokens and predictions " +
		"cannot be checked; the option `usage inject` of lb_policy kv_aware asks for them"
	uncountedUsage = "the engine does not report cached tokens, so predictions cannot be checked (vLLM: --enable-prompt-tokens-details)"
)

// Reported notes that an answer of the upstream had the count.
func (c *CacheReports) Reported(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(address).quiet = true
}

// Unreported notes an answer without the count, and says whether it is a stream whose
// client did not ask for usage. It returns the warning that is due, or "".
func (c *CacheReports) Unreported(address string, unasked bool) (warning string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.of(address)
	if r.quiet {
		return ""
	}
	r.missing++
	if unasked {
		r.unasked++
	}
	if r.missing < warnAfter {
		return ""
	}
	r.quiet = true
	if r.unasked == r.missing {
		return unaskedUsage
	}
	return uncountedUsage
}

// Forget drops what is known of an upstream.
func (c *CacheReports) Forget(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byAddr, address)
}

// of returns the state kept for an upstream, new if need be. The caller holds mu.
func (c *CacheReports) of(address string) *cacheReport {
	r := c.byAddr[address]
	if r == nil {
		if c.byAddr == nil {
			c.byAddr = make(map[string]*cacheReport)
		}
		r = new(cacheReport)
		c.byAddr[address] = r
	}
	return r
}
