// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// Every API that the router learns from has one format, and each format is the
// first to match its example.
func TestFormats(t *testing.T) {
	rows := map[prompt.API]int{}
	for i, f := range formats {
		for _, api := range f.apis {
			rows[api]++
		}
		e := event{tally: new(tally)}
		e.cursor = cursor{b: []byte(f.example)}
		if e.readMembers(); e.bad {
			t.Fatalf("format %d: the example cannot be read", i)
		}
		for j := range formats {
			if formats[j].matches(&e) {
				if j != i {
					t.Errorf("format %d takes the example of format %d", j, i)
				}
				break
			}
		}
	}
	for api := range prompt.NumAPIs {
		want := 0
		if api.Signable() {
			want = 1
		}
		if rows[api] != want {
			t.Errorf("%v has %d formats, want %d", api, rows[api], want)
		}
	}
}
