// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestValueRules(t *testing.T) {
	checkTextRules(t, []textRule{
		{"random62", looksRandom, "a8Fk29dKq01LzPw73bXc", "claude_sonnet_version_4"},
		{"figures", allDigits, "8412907731", "0000000000"},
		{"guid", isGUID, "743b294a-cd03-11ec-9d64-0242ac120002", "743b294a-cd03-11ec-9d640-242ac120002"},
		{"basic", isBasicAuth, "Ym9iOmhsVlR1QUdMMk5Ga29h", "c29tZSB3b3JkcyBvbmx5"},
		{"member", dottedNames, "ed25519.Ed25519PrivateKey", "mF9B5f.41JqM7"},
		{"signed", mixedWithSign, "Hunter2!x", "hunter2!x"},
		{"chosen", likelyPassword, "hunter2", "/etc/pass2"},
		{"chosen sign", likelyPassword, "Tr&bador", "Trbador&"},
		{"credential", looksLikeCredential, "mF_9.B5f-4.1JqM", "${TOKEN_1}"},
		{"credential without digits", looksLikeCredential, "aBcDeFgHiJkL", "Abcdefghijkl"},
		{"template variable", isTemplate, "$DB_PASS1", "$ummer!2024x"},
		{"template yours", isTemplate, "your_password", "young_password"},
		{"template mask", isTemplate, "********", "*******1"},
		{"template substitution", isTemplate, "abc${PASSWORD}", "abc{PASSWORD}"},
		{"machineMade", func(v []byte) bool { return looksGenerated(v, false) }, "a8Fk29dKq01LzPw73bXc", "0123456789012345"},
		{"machineMade in quotes", func(v []byte) bool { return looksGenerated(v, true) }, "8412907731554127", "841290773155412"},
		{"setting ends its line", func(v []byte) bool { return looksLikeSetting(v, true, '\n') }, "s3cr3tpass", "auth_v2"},
		{"setting before a space", func(v []byte) bool { return looksLikeSetting(v, true, ' ') }, "RRZUtl9LKGT0l", "Cfg2"},
		{"setting with space around", func(v []byte) bool { return looksLikeSetting(v, false, '\n') }, "s3cr3tpass", "password2"},
		{"identifier", func(v []byte) bool { return isIdentifier(v, true) }, "auth_v2.key", "s3cr3tpass"},
		{"plainWord", func(v []byte) bool { return wordWithDigits(v, true) }, "base64-encoded", "hunter2"},
		{"plainWord that is known", func(v []byte) bool { return wordWithDigits(v, true) }, "SHA512", "Sommer2019"},
	})
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		kind          nameKind
		value         string
		quoted, tight bool
		next          byte
		want          bool
	}{
		{namePassword, "hunter2!", true, false, '"', true},
		{namePassword, "hunter", true, false, '"', false},    // a word
		{namePassword, "h2!", true, false, '"', false},       // too short
		{namePassword, "Hunter2!x", false, false, ',', true}, // "pw: Hunter2!x, thanks"
		{namePassword, "getpass2", false, true, '(', false},  // a call
		{nameSecret, "a8Fk29dKq01LzPw73bXc", false, true, '&', true},
		{nameSecret, "a8Fk29dKq01LzPw73bXc", false, true, '(', false},
		{nameSecret, "ed25519.Ed25519PrivateKey", false, false, ',', false},
		{nameSignature, "CVJhd98qk1NZn8DJwoDYyVYP2fbBHznQowOEy0NqEOe", false, true, '&', true},
		{nameSignature, "CVJhd98qk1NZn8DJwoDYyVYP2fbBHznQowOEy0NqEOe", false, false, '&', false},
		{nameBasic, "Ym9iOmhsVlR1QUdMMk5Ga29h", true, false, '"', true},
		{nameBasic, "Ym9iOmhsVlR1QUdMMk5Ga29h", false, true, '\n', false},
	} {
		if got := likelySecret(c.kind, []byte(c.value), c.quoted, c.tight, c.next); got != c.want {
			t.Errorf("%q as kind %d: %v", c.value, c.kind, got)
		}
	}
}
