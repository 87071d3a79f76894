// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTokensAreAboutFourBytesOfEnglish(t *testing.T) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 100)
	if n := len(AppendTokens(nil, text)); n != len(text)/4 {
		t.Errorf("%d tokens for %d bytes", n, len(text))
	}
}

func TestTokensOfAPrefixAreAPrefix(t *testing.T) {
	text := "Grüße aus Köln 你好, plain ASCII \U0001f600 and the end"
	all := AppendTokens(nil, text)
	for i := range text {
		part := AppendTokens(nil, text[:i])
		if n := len(part) - 1; n > 0 && !slices.Equal(part[:n], all[:n]) {
			t.Fatalf("tokens of the first %d bytes do not begin all tokens", i)
		}
	}
}

func TestControlAndImageTokensHaveNoText(t *testing.T) {
	tokens := appendImage([]uint32{tokenStart, tokenEnd, tokenCall}, []byte(`{"type":"image_url"}`))
	tokens = append(tokens, 5<<28|77, 6<<28, 15<<28|1)
	if text := AppendText(nil, tokens); len(text) != 0 {
		t.Errorf("text %q", text)
	}
	if n := len(tokens) - 6; n != imageTokens+2 {
		t.Errorf("an image has %d tokens", n)
	}
	other := appendImage(nil, []byte(`{"type":"image_urL"}`))
	if slices.Equal(other, appendImage(nil, []byte(`{"type":"image_url"}`))) {
		t.Error("two images have the same tokens")
	}
}

func FuzzTokens(f *testing.F) {
	f.Add("")
	f.Add("abc")
	f.Add("Grüße 你好 \x00\x7f end")
	f.Fuzz(func(t *testing.T, text string) {
		tokens := AppendTokens(nil, text)
		back := string(AppendText(nil, tokens))
		sum := 0
		for _, token := range tokens {
			if token >= 1<<31 {
				t.Fatalf("token %d does not fit 31 bits", token)
			}
			sum += textLen(token)
		}
		if sum != len(back) {
			t.Fatalf("textLen says %d, the text has %d bytes", sum, len(back))
		}
		if utf8.ValidString(text) && back != text {
			t.Fatalf("%q came back as %q", text, back)
		}
	})
}

func TestBlockChain(t *testing.T) {
	tokens := AppendTokens(nil, strings.Repeat("some tokens ", 40))
	chain := blockChain("m", "", tokens, 16)
	if len(chain) != len(tokens)/16 {
		t.Fatalf("%d hashes of %d tokens", len(chain), len(tokens))
	}
	if got := blockChain("m", "", tokens[:40], 16); !slices.Equal(got, chain[:2]) {
		t.Error("a prefix has other hashes")
	}
	changed := slices.Clone(tokens)
	changed[20]++
	got := blockChain("m", "", changed, 16)
	if got[0] != chain[0] || got[1] == chain[1] || got[2] == chain[2] {
		t.Error("a changed token must change its block and all after it, and none before")
	}
	for _, seed := range [][2]string{{"m2", ""}, {"m", "salt"}, {"", "m"}} {
		if blockChain(seed[0], seed[1], tokens, 16)[0] == chain[0] {
			t.Errorf("model and salt %q share blocks with another", seed)
		}
	}
}
