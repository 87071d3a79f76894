// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomValue looks generated: letters and digits throughout.
func randomValue(n int) string {
	rnd := rand.New(rand.NewPCG(uint64(n), 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"[rnd.IntN(59)]
	}
	return string(b)
}

// TestLongValuesAreTakenWhole assigns values around every bound, up to several
// windows long, with a character that folds in every kind of place: the whole
// value is found, and nothing after it.
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
					t.Fatalf("%s, %d bytes after %d: the text after it is gone: %.200q", name, n, before, scrubbed[max(0, len(scrubbed)-200):])
				}
				for from := 0; from+8 <= n; from += 4 {
					if strings.Contains(rest, value[from:from+8]) {
						t.Fatalf("%s, %d bytes after %d: byte %d of the value is left: %.300q", name, n, before, from, rest)
					}
				}
			}
		}
	}
}

// TestLongTokensAreTakenWhole does the same for tokens and key blocks longer
// than a window beside a character that folds.
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
			t.Errorf("%s: the text after it is gone: %.200q", name, scrubbed[max(0, len(scrubbed)-200):])
		}
		for from := 0; from+8 <= len(value); from += 4 {
			if strings.Contains(scrubbed, value[from:from+8]) {
				t.Errorf("%s: byte %d is left: %.200q", name, from, scrubbed)
				break
			}
		}
	}
}

func TestFold(t *testing.T) {
	zw := "\u200b"
	card := "4012888888881881"
	spread := strings.Join(strings.Split(card, ""), zw)
	filler := strings.Repeat("等等。", 200)
	checkFindings(t, []finding{
		{"mail bob＠example.com", []string{"EMAIL:bob＠example.com"}},
		{"ｂｏｂ＠ｅｘａｍｐｌｅ．ｃｏｍ!", []string{"EMAIL:ｂｏｂ＠ｅｘａｍｐｌｅ．ｃｏｍ"}},
		{"card ４０１２８８８８８８８８１８８１ ok", []string{"CARD:４０１２８８８８８８８８１８８１"}},
		{"card " + spread + " ok", []string{"CARD:" + spread}},
		{"card " + strings.ReplaceAll("4012-8888-8888-1881", "-", "–") + " ok", []string{"CARD:4012–8888–8888–1881"}},
		{"card 4012\u00a08888\u00a08888\u00a01881 ok", []string{"CARD:4012\u00a08888\u00a08888\u00a01881"}},
		{"card 𝟒𝟎𝟏𝟐𝟖𝟖𝟖𝟖𝟖𝟖𝟖𝟖𝟏𝟖𝟖𝟏 ok", []string{"CARD:𝟒𝟎𝟏𝟐𝟖𝟖𝟖𝟖𝟖𝟖𝟖𝟖𝟏𝟖𝟖𝟏"}},
		{"card ٤٠١٢٨٨٨٨٨٨٨٨١٨٨١ ok", []string{"CARD:٤٠١٢٨٨٨٨٨٨٨٨١٨٨١"}},
		{"call ＋１　（６５０）　３３３－６０００ now", []string{"PHONE:＋１　（６５０）　３３３－６０００"}},
		{"ssn 078\u00ad-05-\u00ad1123", []string{"SSN:078\u00ad-05-\u00ad1123"}},
		{"a" + zw + "nn@exam" + zw + "ple.com and bob@example.com", []string{"EMAIL:a" + zw + "nn@exam" + zw + "ple.com", "EMAIL:bob@example.com"}},
		{"card " + strings.Join(strings.Split(card, ""), "\u0335") + " ok", []string{"CARD:" + strings.Join(strings.Split(card, ""), "\u0335")}},
		{"card 4012\u31648888\u061c8888\u180e1881 ok", []string{"CARD:4012\u31648888\u061c8888\u180e1881"}},
		{"電話 ０３ー１２３４ー５６７８ です", []string{"PHONE:０３ー１２３４ー５６７８"}},
		{"card 4012\u28008888\u28008888\u28001881 ok", []string{"CARD:4012\u28008888\u28008888\u28001881"}},
		{"cafe\u0301 1 and サーバー1, Tiếng Việt 12, e\u0301 2", nil},
		{filler + "mail bob＠example.com" + filler + "card ４０１２８８８８８８８８１８８１", []string{"EMAIL:bob＠example.com", "CARD:４０１２８８８８８８８８１８８１"}},
		{"家族👨\u200d👩\u200d👧 ６月 １２ ３％", nil},
	})
}

// TestFoldKeepsWindowsTogether puts a number at every offset around the size
// of a window full of characters that fold.
func TestFoldKeepsWindowsTogether(t *testing.T) {
	s := scanner(t, Options{})
	number := "４０１２８８８８８８８８１８８１"
	for n := foldWindow - 40; n < foldWindow+10; n++ {
		text := strings.Repeat("ａ", n) + " " + number + " x"
		if got := found(s, text); !slices.Equal(got, []string{"CARD:" + number}) {
			t.Fatalf("after %d characters: %q", n, got)
		}
	}
}

func TestFoldRuneSizesAndTargets(t *testing.T) {
	for c := rune(0x80); c <= 0x10ffff; c++ {
		b := []byte(string(c))
		to, size := foldRune(b)
		if size != len(b) {
			t.Fatalf("%U: size %d, want %d", c, size, len(b))
		}
		if to != foldNone && !folds[b[0]] && !(c >= 0xfe00 && c <= 0xfe0f) {
			t.Fatalf("%U folds to %d, but its first byte %#x is not in the table", c, to, b[0])
		}
		if to > 0 && (to < ' ' || to >= 0x7f) {
			t.Fatalf("%U folds to %#x", c, to)
		}
	}
}

// TestFoldGoesOn puts two characters that fold exactly a margin apart: the
// window for the second begins on the first and must still reach the second.
func TestFoldGoesOn(t *testing.T) {
	s := scanner(t, Options{})
	for gap := foldMargin - 4; gap < foldMargin+5; gap++ {
		text := strings.Repeat("１"+strings.Repeat("x", gap), 40) + " ４０１２８８８８８８８８１８８１"
		if got := found(s, text); len(got) != 1 || !strings.HasPrefix(got[0], "CARD:") {
			t.Errorf("gap of %d: %q", gap, got)
		}
	}
	text := []byte(strings.Repeat("１２password=", 2000))
	if err := validate(text, s.Scan(text, nil)); err != nil {
		t.Error(err)
	}
}

// TestFoldClasses folds one character of each class, and a neighbour outside
// it.
func TestFoldClasses(t *testing.T) {
	for _, c := range []struct {
		name           string
		match, noMatch rune
		to             int
	}{
		{"space", 0x200a, 0x2027, ' '}, {"mark", 0x301, 0x374, foldDrop}, {"filler", 0x180c, 0x1811, foldDrop},
		{"ignorable", 0x200b, 0x2030, foldDrop}, {"hyphen", 0x2013, 0x2016, '-'}, {"full stop", 0x3002, 0x3001, '.'},
		{"full-width", 0xff21, 0xff60, 'A'}, {"commercial at", 0xfe6b, 0xfe6a, '@'}, {"Arabic digit", 0x664, 0x66a, '4'},
		{"Devanagari digit", 0x967, 0x964, '1'}, {"Thai digit", 0xe59, 0xe5a, '9'}, {"mathematical digit", 0x1d7d2, 0x1d7cd, '4'},
		{"mathematical capital", 0x1d400, 0x1d6a4, 'A'}, {"mathematical small letter", 0x1d44f, 0x1d7cb, 'b'},
	} {
		if got, _ := foldRune([]byte(string(c.match))); got != c.to {
			t.Errorf("%s: %U folds to %d, want %d", c.name, c.match, got, c.to)
		}
		if got, _ := foldRune([]byte(string(c.noMatch))); got == c.to {
			t.Errorf("%s: %U folds to %d as well", c.name, c.noMatch, got)
		}
	}
}
