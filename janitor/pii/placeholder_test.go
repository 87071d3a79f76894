// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"strings"
	"testing"
)

func TestPlaceholder(t *testing.T) {
	for text, want := range map[string]int{
		"[EMAIL_1]": 9, "[EMAIL_7f3a9c] x": 14, "[REDACTED]": 10, "[US_MBI_12]": 11, "[email_1]": 0, "[1]": 0, "[EMAIL": 0, "[]": 0, "[A b]": 0,
		"[EMAILx]": 0, "": 0, "x": 0, "[" + strings.Repeat("A", 80) + "]": 0,
		"[US_MBI_7f3a9c01]": 17, "[A_65536]": 9, "[EMAIL_]": 0, "[EMAIL_1_]": 0, "[EMAIL_1A]": 0, "[EMAIL_a_1]": 0, "[SECRET]": 0,
		"[A_411111111]": 0, "[A_0123456789abcdef]": 0, "[AB1234_1]": 0, "[GB82WEST12345698765432]": 0,
	} {
		if got := placeholder([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// TestValuesInBrackets are values in the places where placeholders stand.
func TestValuesInBrackets(t *testing.T) {
	key := "AK" + "IAQWERTYUIOP234567"
	checkFindings(t, []finding{
		{"keys: [" + key + "]", []string{"SECRET:" + key}},
		{"[GB82WEST12345698765432]", []string{"IBAN:GB82WEST12345698765432"}},
		{"[AB123456C] [S2740116C]", []string{"NINO:AB123456C", "SG_FIN:S2740116C"}},
		{"card [A_ 4012888888881881] [4012888888881881]", []string{"CARD:4012888888881881", "CARD:4012888888881881"}},
		{"[EMAIL_1] [CARD_7f3a9c] [REDACTED] [A]", nil},
	})
}
