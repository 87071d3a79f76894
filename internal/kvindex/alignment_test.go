// SPDX-License-Identifier: Apache-2.0

package kvindex

import "testing"

// FuzzAlignTokens aligns a rendition with texts of tokens that need not belong to it.
func FuzzAlignTokens(f *testing.F) {
	f.Add([]byte("\xff\x01user\xff\x05what is a long enough text to be found in it?"), []byte("<s>user\nwhat is a long enough text to be found in it?</s>"), byte(16), byte(3))
	f.Add([]byte("\xff\x07{\xfename\xfe:\xfe\xfd"), []byte("x"), byte(1), byte(0))
	f.Fuzz(func(t *testing.T, text, tokens []byte, block, size byte) {
		n, bytes := 1+int(size%8), 1+int(block)
		p := TokenizedPrompt{
			Render: func(yield func(int32, []byte) bool) {
				if yield(0, text[:len(text)/2]) {
					yield(1, text[len(text)/2:])
				}
			},
			BlockBytes: bytes, Blocks: len(text) / bytes, BlockTokens: 1 + int(size/8), Tokens: (len(tokens) + n - 1) / n,
			MessageEnds: []int{len(text) / 3, len(text)},
			Text:        func(i int) []byte { return tokens[i*n : min(len(tokens), (i+1)*n)] },
		}
		anchors, ends := AlignTokens(p)
		if len(anchors) != p.Blocks {
			t.Fatalf("%d anchors for %d text blocks", len(anchors), p.Blocks)
		}
		if len(ends) != len(p.MessageEnds) {
			t.Fatalf("%d anchors for %d ends of messages", len(ends), len(p.MessageEnds))
		}
		for i, a := range append(ends, anchors...) {
			if a.Tokens < 0 || a.Tokens > p.Tokens {
				t.Fatalf("anchor %d of %d tokens, there are %d", i, a.Tokens, p.Tokens)
			}
		}
		x, _ := newIndex(8 << 20)
		s := x.Space(TokenKey{BlockTokens: p.BlockTokens})
		chain, ids := textChain(string(text), bytes), make([]uint32, p.Tokens)
		if x.Link(s, chain, anchors, ids) {
			t.Fatal("contradicted by nothing")
		}
		match(t, x, s, chain)
	})
}
