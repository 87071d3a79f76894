// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// randomValue is what a machine makes: letters and digits throughout.
func randomValue(n int) string {
	rnd := rand.New(rand.NewPCG(uint64(n), 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"[rnd.IntN(59)]
	}
	return string(b)
}

// TestLongValuesAreTakenWhole assigns values around every bound, as long as
// several windows and longer, with a character that folds at every kind of
// place: none of the value may be left behind, and nothing behind it taken.
func TestLongValuesAreTakenWhole(t *testing.T) {
	s := scanner(t, Options{})
	const after = " and so the text went on"
	for _, n := range []int{20, 127, 129, 191, 200, 300, 511, 512, 513, 1000, foldWindow - 10, foldWindow, foldWindow + 300, 3*foldWindow + 5, 50000} {
		value := randomValue(n)
		for name, text := range map[string]string{
			"plain":             "api_key=" + value,
			"password":          "password=" + value,
			"quoted":            `"client_secret": "` + value + `"`,
			"element":           "<token>" + value + "</token>",
			"header":            "Authorization: Bearer " + value,
			"full-width name":   "ａｐｉ_key=" + value,
			"full-width sign":   "api_key＝" + value,
			"zero-width name":   "pass\u200bword=" + value,
			"zero-width sign":   "api_key\u200b=\u200b" + value,
			"zero-width first":  "api_key=\u200b" + value,
			"zero-width inside": "api_key=" + value[:n/2] + "\u200b" + value[n/2:],
			"zero-width late":   "api_key=" + value[:n-2] + "\u200b" + value[n-2:],
			"full-width inside": "api_key=" + value[:n/2] + "ａ１" + value[n/2:],
			"full-width quotes": `"client_secret"： "` + value + `"`,
			"soft hyphens":      "password=" + value[:10] + "\u00ad" + value[10:n/2] + "\u00ad" + value[n/2:],
			"folding all over":  "api_key=" + strings.ReplaceAll(value, "a", "ａ"),
			"header zero-width": "Author\u200bization: Bearer " + value,
		} {
			for _, before := range []int{0, 1, 150, 190, 4000} {
				text := strings.Repeat("word ", before/5) + text + after
				scrubbed := string(scrub(s, []byte(text), false))
				rest := strings.TrimSuffix(scrubbed, after)
				if rest == scrubbed {
					t.Fatalf("%s, %d bytes behind %d: the text behind is gone: %.200q", name, n, before, scrubbed[max(0, len(scrubbed)-200):])
				}
				for from := 0; from+8 <= n; from += 4 {
					if strings.Contains(rest, value[from:from+8]) {
						t.Fatalf("%s, %d bytes behind %d: byte %d of the value is left: %.300q", name, n, before, from, rest)
					}
				}
			}
		}
	}
}

// TestLongTokensAreTakenWhole does so for what is longer than a window beside
// a character that folds: tokens and key blocks.
func TestLongTokensAreTakenWhole(t *testing.T) {
	s := scanner(t, Options{})
	value := randomValue(6000)
	head := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
	lines := ""
	for i := 0; i+64 <= len(value); i += 64 {
		lines += value[i:i+64] + "\n"
	}
	for name, text := range map[string]string{
		"jwt":            "x\u200b " + head[:9] + "\u200b" + head[9:] + value[:5000] + "." + value[5000:],
		"jwt in payload": head + value[:2000] + "\u200b" + value[2000:5000] + "." + value[5000:],
		"key":            "-----BEGIN RSA\u00a0PRIVATE KEY-----\n" + lines + "-----END RSA PRIVATE KEY-----",
		"key in body":    "-----BEGIN RSA PRIVATE KEY-----\n" + lines[:3000] + "\u200b" + lines[3000:] + "-----END RSA PRIVATE KEY-----",
	} {
		const after = "\nthe text goes on"
		scrubbed := string(scrub(s, []byte(text+after), false))
		if !strings.HasSuffix(scrubbed, after) {
			t.Errorf("%s: the text behind is gone: %.200q", name, scrubbed[max(0, len(scrubbed)-200):])
		}
		for from := 0; from+8 <= len(value); from += 4 {
			if strings.Contains(scrubbed, value[from:from+8]) {
				t.Errorf("%s: byte %d is left: %.200q", name, from, scrubbed)
				break
			}
		}
	}
}

// TestNestedAssignments holds the bound of what is judged: a stretch full of
// names is taken, one with a few is judged.
func TestNestedAssignments(t *testing.T) {
	s := scanner(t, Options{})
	for _, c := range []struct {
		text  string
		taken bool
	}{
		{strings.Repeat("token:", 100), true},
		{strings.Repeat("authorization:", 100), true},
		{"Token::Secret::Token::Secret::Password", false},
		{"token:secret:password:key", false},
	} {
		got := found(s, c.text)
		if (len(got) == 1 && strings.HasSuffix(c.text, got[0][len("SECRET:"):])) != c.taken || !c.taken && len(got) > 0 {
			t.Errorf("%.60q: %.100q", c.text, fmt.Sprint(got))
		}
	}
}

// TestEdgesGiveUpClosed holds what happens behind the bounds: a finding whose
// neighbourhood was not looked at takes all that touches it along.
func TestEdgesGiveUpClosed(t *testing.T) {
	s := scanner(t, Options{})
	text := []byte("a 4012888888881881.x")
	spans := []Span{{2, 5, EntityPhone}}
	got := s.glue(text, spans, 0, nil)
	if len(got) != 1 || got[0] != (Span{2, len(text), EntityPhone}) {
		t.Errorf("a new finding: %v", got)
	}
	spans = []Span{{2, 5, EntityPhone}}
	if got := s.glue(text, spans, 0, []Span{{2, 5, EntityPhone}}); len(got) != 1 || got[0] != (Span{2, 5, EntityPhone}) {
		t.Errorf("an old finding: %v", got)
	}
}
