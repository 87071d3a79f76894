// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"slices"
	"testing"
)

// spelledOut decodes texts as Tokens.decode does.
func spelledOut(ids []uint32, texts []string) (out []string) {
	t := Tokens{IDs: ids}
	for _, s := range texts {
		t.texts = append(t.texts, s...)
		t.textEnds = append(t.textEnds, uint32(len(t.texts)))
	}
	t.decode()
	for i := range texts {
		out = append(out, string(t.Text(i)))
	}
	return out
}

// Texts become bytes of the prompt in every spelling.
func TestSpellings(t *testing.T) {
	level := func(s string) string { // as the tokenizer of GPT-2 writes it
		var out []rune
		for _, b := range []byte(s) {
			out = append(out, rune(slices.Index(byteAlphabet[:], uint16(b)+1)))
		}
		return string(out)
	}
	if level(" \n") != "ĠĊ" || level("a~é") != "a~Ã©" {
		t.Fatal("the alphabet is not that of GPT-2")
	}
	for _, c := range []struct{ pieces, want []string }{
		{[]string{"plain", " text"}, []string{"plain", " text"}},
		{[]string{"<|im_start|>", "user", level("\n"), level(" Gr\xc3"), level("\xbc"), "<｜end▁of▁it｜>", level(" é")},
			[]string{"<|im_start|>", "user", "\n", " Gr\xc3", "\xbc", "<｜end▁of▁it｜>", " é"}},
		{[]string{"<s>", "▁Hello", "▁▁", "<0x0A>", "<0xZZ>", "é", "a▁b"}, []string{"<s>", " Hello", "  ", "\n", "<0xZZ>", "é", "a b"}},
		{[]string{"hell", "oĠthe", "re.Ċ"}, []string{"hell", "o the", "re.\n"}},
		{[]string{"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "hi", "Ġyou"}, []string{"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "hi", " you"}},
		{[]string{"Ġużże", " in", " plain", "\n"}, []string{"Ġużże", " in", " plain", "\n"}},
		{[]string{"▁Ġużże", "▁in"}, []string{" Ġużże", " in"}},
		{[]string{"", ""}, []string{"", ""}},
	} {
		got := spelledOut(make([]uint32, len(c.pieces)), c.pieces)
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.pieces, got, c.want)
		}
	}
}
