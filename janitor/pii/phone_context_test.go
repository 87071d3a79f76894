// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestNotDialled(t *testing.T) {
	rules := []chainRule{
		{"unixTime", (*chain).unixTime, "1700000000", "4155550132"},
		{"dottedRow", (*chain).dottedRow, "1.2.3.4", "415.555.0132"},
		{"padded", (*chain).padded, "000410", "0410"},
		{"dateAndTime", (*chain).dateAndTime, "2012-01-02 08", "2012-31-32 08"},
		{"amount", (*chain).amount, "256000000", "256000001"},
		{"accountInName", (*chain).accountInName, "iam::123456789012:role", "tel: 123456789012:"},
		{"fraction", (*chain).fraction, "0.4105551", "415.5550132"},
		{"postalCode", (*chain).postalCode, "10021-3100", "10021-31005"},
		{"volumeAndYear", (*chain).volumeAndYear, "31 (1982)", "31 (8219)"},
		{"yearInParentheses", (*chain).yearInParentheses, "1982)", "4982)"},
	}
	checkChainRules(t, rules)
	for _, rule := range rules {
		if c := chainOf([]byte(rule.match)); !c.otherFigures(0, c.n) {
			t.Errorf("%s: %q could be dialled", rule.name, rule.match)
		}
	}
}

func TestPlausibleBare(t *testing.T) {
	checkChainRules(t, []chainRule{
		{"local number", plausiblePhone, "555-0132", "5550132"},
		{"trunk prefix", plausiblePhone, "0412345678", "04123456789012"},
		{"area code", plausiblePhone, "4155550132", "1155550132"},
		{"country code", plausiblePhone, "49301234567", "99901234567"},
	})
}

func TestDialled(t *testing.T) {
	all := func(c *chain, i, k int) bool { return c.dialledGroups(i) == k }
	checkChainRules(t, []chainRule{
		{"seven digits", all, "785 8949", "785 894"},
		{"three pairs", all, "22 12 34", "221 234"},
		{"one kind of dots", all, "415.555.0132", "415 555.0132"},
	})
}
