// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

// TestEdgesGiveUpClosed checks what happens past the bounds: a finding whose
// neighbourhood was not scanned takes all that touches it.
func TestEdgesGiveUpClosed(t *testing.T) {
	s := scanner(t, Options{})
	text := []byte("a 4012888888881881.x")
	spans := []Span{{2, 5, EntityPhone}}
	got := s.takeTouching(text, spans, 0, nil)
	if len(got) != 1 || got[0] != (Span{2, len(text), EntityPhone}) {
		t.Errorf("a new finding: %v", got)
	}
	spans = []Span{{2, 5, EntityPhone}}
	if got := s.takeTouching(text, spans, 0, []Span{{2, 5, EntityPhone}}); len(got) != 1 || got[0] != (Span{2, 5, EntityPhone}) {
		t.Errorf("an old finding: %v", got)
	}
}
