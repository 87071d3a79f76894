// SPDX-License-Identifier: Apache-2.0

package upstreams

import "testing"

func TestWarningsOfMissingCacheReports(t *testing.T) {
	const reported, unasked = 'r', 's' // by an answer; a stream without usage. Any other letter: usage without the count
	for name, c := range map[string]struct{ answers, want string }{
		"a few answers":                     {"sssssss", ""},
		"streams without usage":             {"ssssssssssssssssssss", unaskedUsage},
		"usage without the count":           {"uuuuuuuuuuuuuuuuuuuu", uncountedUsage},
		"both":                              {"ssssusssssssssssssss", uncountedUsage},
		"the count before":                  {"rsssssssssssssssssss", ""},
		"the count among the first answers": {"sssssrssssssssssssss", ""},
	} {
		var reports CacheReports
		warnings, got := 0, ""
		for _, a := range c.answers {
			if a == reported {
				reports.Reported("n")
			} else if w := reports.Unreported("n", a == unasked); w != "" {
				warnings, got = warnings+1, w
			}
		}
		if got != c.want || warnings > 1 {
			t.Errorf("%s: %d warnings, %q, want %q", name, warnings, got, c.want)
		}
		if reports.Unreported("other", true) != "" {
			t.Errorf("%s: a warning of another upstream", name)
		}
		reports.Forget("n")
		if len(reports.byAddr) != 1 {
			t.Errorf("%s: a forgotten upstream is remembered", name)
		}
	}
}
