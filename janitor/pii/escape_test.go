// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"slices"
	"testing"
)

// TestAfterEscapes puts values after and between the escape sequences of
// program text and of JSON within a text: each is found as if the character
// itself stood there, without any part of the sequence.
func TestAfterEscapes(t *testing.T) {
	s := scanner(t, Options{})
	for _, want := range []string{
		"EMAIL:bob@example.com", "CARD:4012 8888 8888 1881", "CARD:4012888888881881", "IBAN:GB82WEST12345698765432", "SSN:078-05-1123",
		"PHONE:415-555-0132", "PHONE:+49 30 901820", "PHONE:(020) 7946 0958", "PHONE:06 12 34 56 78", "IP:8.8.8.8", "IP:2a00:1450:4001:80b::200e",
		"MAC:00:1a:2b:3c:4d:5e", "MAC:0012.3456.789a", "NINO:AB 12 34 56 C", "SG_FIN:S2740116C", "FI_HETU:131052-308T", "ES_NIF:12345678-Z",
		"SECRET:gh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx", "SECRET:AK" + "IAQWERTYUIOP234567", "SECRET:np" + "m_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx",
		"CRYPTO:1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
		"JWT:eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" + ".eyJsb2dnZWRJbkFzIjoiYWRtaW4ifQ" + ".gzSraSYS8EXBxLN_oWnFSRgCzcmJmMjLiuyu5CSpyHI",
	} {
		value := want[slices.Index([]byte(want), ':')+1:]
		for _, sequence := range []string{`\n`, `\t`, `\r\n`, `\\n`, `\u003c`, `\u000A`} {
			text := `{"log": "some words` + sequence + value + sequence + `more"}`
			if got := found(s, text); !slices.Equal(got, []string{want}) {
				t.Errorf("%q: got %q, want %q", text, got, want)
			}
		}
	}
	checkFindings(t, []finding{
		{`"\nssn 078051123\nphone: 2813882583\n"`, []string{"SSN:078051123", "PHONE:2813882583"}},
		{`jane\@example.org and C:\npm_cache\temp1 \d4012888888881881 \new4012888888881881`, []string{`EMAIL:jane\@example.org`}},
		{`pers\u00f6n@example.org`, []string{`EMAIL:u00f6n@example.org`}},
	})
}
