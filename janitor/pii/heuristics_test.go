// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"strings"
	"testing"
)

// textRule is a predicate on a text, with one that it holds for and one, as
// near to that as possible, that it does not hold for.
type textRule struct {
	name           string
	holds          func(text []byte) bool
	match, noMatch string
}

func checkTextRules(t *testing.T, rules []textRule) {
	t.Helper()
	for _, rule := range rules {
		if !rule.holds([]byte(rule.match)) {
			t.Errorf("%s does not hold for %q", rule.name, rule.match)
		}
		if rule.holds([]byte(rule.noMatch)) {
			t.Errorf("%s holds for %q", rule.name, rule.noMatch)
		}
	}
}

// chainRule is the same for a predicate on k groups from group i on: all groups
// of the text.
type chainRule struct {
	name           string
	holds          func(c *chain, i, k int) bool
	match, noMatch string
}

func checkChainRules(t *testing.T, rules []chainRule) {
	t.Helper()
	for _, rule := range rules {
		checkTextRules(t, []textRule{{rule.name, func(text []byte) bool {
			c := chainOf(text)
			return rule.holds(c, 0, c.n)
		}, rule.match, rule.noMatch}})
	}
}

// chainOf returns the chain that begins with the first digit of a text.
func chainOf(text []byte) *chain {
	p := strings.IndexAny(string(text), "0123456789")
	c := new(chain)
	c.parse(text, p, digitsEnd(text, p))
	return c
}
