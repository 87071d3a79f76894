// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"math/rand/v2"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// fakeEngine is a KV cache of blocks of tokens that publishes its events. Like vLLM it
// has each block as often as it was computed, and publishes each copy.
type fakeEngine struct {
	name    string
	block   int
	copies  map[uint64]int // by the engine's hash
	order   []uint64       // physical blocks, oldest first
	room    int
	publish func(e *kvevents.Event)
}

// hash is the engine's hash (FNV-1a), with another seed in each engine.
func (g *fakeEngine) hash(before uint64, tokens []uint32) uint64 {
	h := xxhash.Sum64String(g.name) ^ before
	for _, t := range tokens {
		h = (h ^ uint64(t)) * 0x100000001b3
	}
	return h ^ h>>29
}

// held returns the number of a prompt's tokens that the engine has.
func (g *fakeEngine) held(tokens []uint32) (n int) {
	h := uint64(0)
	for len(tokens)-n >= g.block {
		h = g.hash(h, tokens[n:n+g.block])
		if g.copies[h] == 0 {
			return n
		}
		n += g.block
	}
	return n
}

// serve computes the missing blocks of a prompt, and evicts others to make room.
func (g *fakeEngine) serve(r *rand.Rand, tokens []uint32) {
	held := g.held(tokens)
	if held == len(tokens) && held > 0 && r.IntN(2) == 0 {
		held -= g.block // the last block is computed again
	}
	h, n := uint64(0), 0
	for ; n < held; n += g.block {
		h = g.hash(h, tokens[n:n+g.block])
	}
	e := kvevents.Event{Kind: kvevents.Stored, Root: n == 0, Parent: h, BlockSize: g.block}
	for ; len(tokens)-n >= g.block; n += g.block {
		h = g.hash(h, tokens[n:n+g.block])
		e.Hashes = append(e.Hashes, h)
		e.Tokens = append(e.Tokens, tokens[n:n+g.block]...)
		g.copies[h]++
		g.order = append(g.order, h)
	}
	if len(e.Hashes) > 0 {
		g.publish(&e)
	}
	for len(g.order) > g.room {
		i := r.IntN(len(g.order) / 2) // of the older half; the oldest takes its place
		h := g.order[i]
		g.order[i], g.order = g.order[0], g.order[1:]
		if g.copies[h]--; g.copies[h] == 0 {
			delete(g.copies, h)
		}
		g.publish(&kvevents.Event{Kind: kvevents.Removed, Hashes: []uint64{h}})
	}
}

func (g *fakeEngine) reset() {
	g.copies, g.order = map[uint64]int{}, nil
	g.publish(&kvevents.Event{Kind: kvevents.Cleared})
}

// A turn is one message of a conversation.
type turn struct{ role, text string }

// rendition returns the text of the chain, as internal/prompt renders it.
func rendition(turns []turn) string {
	var b strings.Builder
	for _, t := range turns {
		b.WriteString("\xff\x01" + t.role + "\xff\x05" + t.text)
	}
	return b.String()
}

// template returns the engine's tokens: special tokens, and pieces of words.
func template(turns []turn, generate bool) (tokens []uint32, texts []string) {
	add := func(s string) {
		tokens = append(tokens, uint32(xxhash.Sum64String(s)))
		texts = append(texts, s)
	}
	for _, t := range turns {
		add("<|im_start|>")
		for _, s := range pieces(t.role + "\n" + strings.TrimSpace(t.text)) {
			add(s)
		}
		add("<|im_end|>")
		add("\n")
	}
	if generate {
		add("<|im_start|>")
		add("assistant")
		add("\n")
	}
	return tokens, texts
}

// pieces cuts a text like byte pair encoding with GPT-2's pattern: into words with the
// space before them, runs of white space without their last character, and other
// characters; and these into pieces that depend on the whole word.
func pieces(text string) (out []string) {
	for len(text) > 0 {
		n := 1
		switch {
		case text[0] == ' ' && len(text) > 1 && !isSpace(text[1]), !isSpace(text[0]):
			for n < len(text) && !isSpace(text[n]) {
				n++
			}
		default:
			for n < len(text) && isSpace(text[n]) {
				n++
			}
			if n < len(text) && n > 1 && text[n-1] == ' ' {
				n--
			}
		}
		word := text[:n]
		text = text[n:]
		for h := xxhash.Sum64String(word); len(word) > 5; h >>= 3 { // cuts depend on the end of the word too
			k := 2 + int(h%4)
			out = append(out, word[:k])
			word = word[k:]
		}
		out = append(out, word)
	}
	return out
}

func randomWords(r *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		k := 1 + r.IntN(9)
		if r.IntN(30) == 0 {
			k += 40
		}
		for range k {
			b.WriteByte("etaoinshrdlu,."[r.IntN(14)])
		}
		b.WriteString([]string{" ", " ", " ", " ", " ", " ", "\n", "\n\n", "  ", "\n\t", " \n   "}[r.IntN(11)])
	}
	return b.String()
}
