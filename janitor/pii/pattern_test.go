// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"slices"
	"strings"
	"testing"
)

func TestPatternErrorsDoNotQuoteThePattern(t *testing.T) {
	_, err := New(Options{Patterns: map[string]string{"staff": "hunter2("}})
	if err == nil || !strings.Contains(err.Error(), "staff") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestPatternsAndAllow(t *testing.T) {
	s := scanner(t, Options{
		Patterns: map[string]string{"staff-id": `\bEMP-\d{6}\b`},
		Allow:    []string{"info@Example.com", "EMP-000000"},
	})
	got := found(s, "EMP-123456 EMP-000000 INFO@example.com ann@example.com")
	want := []string{"STAFF_ID:EMP-123456", "EMAIL:ann@example.com"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
