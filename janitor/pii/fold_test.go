// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"slices"
	"strings"
	"testing"
)

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
			t.Fatalf("behind %d characters: %q", n, got)
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
