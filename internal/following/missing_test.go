// SPDX-License-Identifier: Apache-2.0

package following

import (
	"fmt"
	"slices"
	"testing"
)

// A missing endpoint is reported once for each API, until its upstream is forgotten,
// and a limited number of them is remembered.
func TestMissingEndpoints(t *testing.T) {
	var reported []string
	m := missingEndpoints{report: func(upstream, api string) { reported = append(reported, upstream+" "+api) }}
	m.note("a:1", "messages")
	m.note("a:1", "messages")
	m.note("b:1", "messages")
	m.note("a:1", "responses")
	m.forget("a:1")
	m.note("a:1", "messages")
	m.note("b:1", "messages")
	if want := []string{"a:1 messages", "b:1 messages", "a:1 responses", "a:1 messages"}; !slices.Equal(reported, want) {
		t.Errorf("%q, want %q", reported, want)
	}
	for i := range 2 * maxMissing {
		m.note(fmt.Sprint(i), "chat")
	}
	if len(m.known) != maxMissing {
		t.Errorf("%d are remembered", len(m.known))
	}
}
