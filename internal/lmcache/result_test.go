// SPDX-License-Identifier: Apache-2.0

package lmcache

import "testing"

func TestResultNames(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Results() {
		if r.String() == "" || r.String() == "unknown" || seen[r.String()] {
			t.Errorf("result %d has the name %q", r, r)
		}
		seen[r.String()] = true
	}
	if Result(200).String() != "unknown" {
		t.Error("an unknown result has a name")
	}
}
