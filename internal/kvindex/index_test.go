// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// world has engines, conversations that are sent to them, and an index of their events.
type world struct {
	r       *rand.Rand
	x       *Index
	tree    *radixcache.Tree
	engines []*fakeEngine
	feeds   []*Feed
	block   int
	text    int // size of a text block
	exact   bool
	linked  map[uint64]bool // text blocks

	tokens, off, short int // of prompts; predicted too many, too few
	contradicted       int
}

func newWorld(seed uint64, whole int64, block, text int, exact bool) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 7)), block: block, text: text, exact: exact, linked: map[uint64]bool{}}
	w.x, w.tree = newIndex(whole)
	for i := range 3 {
		f := w.x.Feed(fmt.Sprint("engine-", i))
		w.feeds = append(w.feeds, f)
		w.engines = append(w.engines, &fakeEngine{name: fmt.Sprint(i), block: block, copies: map[uint64]int{}, room: 12000 / block,
			publish: func(e *kvevents.Event) { f.Apply(e) }})
	}
	return w
}

// send checks the predicted matches of a prompt on all engines, and sends it to one.
func (w *world) send(turns []turn) error {
	text := rendition(turns)
	chain := textChain(text, w.text)
	tokens, texts := template(turns, true)
	s := w.x.Space(TokenKey{Model: "m", BlockTokens: w.block})
	own, n, followed := w.x.Match(s, chain, nil)
	all := w.x.Chain(s, tokens, nil)
	if len(own) > len(all) || !slices.Equal(own, all[:len(own)]) {
		if w.exact {
			return fmt.Errorf("%d of %d blocks matched over %d text blocks are not the prompt's", len(own), len(all), followed)
		}
	}
	if w.x.Stats().Limit > 1<<20 { // nothing was forgotten
		for i, h := range chain {
			if w.linked[h] && followed <= i {
				return fmt.Errorf("text block %d was linked, matched %d", i, followed)
			}
		}
	}
	matches := w.tree.Lookup(own, nil)
	for i, g := range w.engines {
		predicted := 0
		for _, m := range matches {
			if m.Upstream == w.feeds[i].ID() {
				predicted = int(m.Blocks) * w.block
			}
		}
		truth := g.held(tokens)
		if w.exact && predicted > truth {
			return fmt.Errorf("predicted %d tokens, the engine holds %d", predicted, truth)
		}
		if w.exact && predicted != min(truth, n/w.block*w.block) {
			return fmt.Errorf("predicted %d tokens, the engine holds %d, linked are %d", predicted, truth, n)
		}
		w.off += max(0, predicted-truth)
		w.short += max(0, truth-predicted)
		w.tokens += len(tokens)
	}
	w.engines[w.r.IntN(len(w.engines))].serve(w.r, tokens)
	p := TokenizedPrompt{
		Render:     func(yield func(int32, []byte) bool) { yield(0, []byte(text)) },
		BlockBytes: w.text, Blocks: len(chain), BlockTokens: w.block, Tokens: len(tokens),
		Text: func(i int) []byte { return []byte(texts[i]) },
	}
	if !w.exact {
		p.Text = nil
	}
	anchors, _ := AlignTokens(p)
	if w.x.Link(s, chain, anchors, tokens) {
		w.contradicted++
		w.linked = map[uint64]bool{}
		return nil
	}
	for i, h := range chain {
		if w.linked[h] = true; anchors[i].Tokens >= len(tokens) {
			break
		}
	}
	return nil
}

// run sends conversations that share system prompts, and beginnings of messages.
func (w *world) run(steps int) error {
	var systems, starts []string
	for range 3 {
		systems = append(systems, randomWords(w.r, 50+w.r.IntN(600)))
		starts = append(starts, randomWords(w.r, 100+w.r.IntN(300)))
	}
	var open [][]turn
	for step := range steps {
		if len(open) < 12 || w.r.IntN(6) == 0 {
			open = append(open, []turn{{"system", systems[w.r.IntN(3)]}})
		}
		i := w.r.IntN(len(open))
		ask := randomWords(w.r, 1+w.r.IntN(200))
		if start := starts[w.r.IntN(3)]; w.r.IntN(3) == 0 {
			ask = start[:w.r.IntN(len(start))] + ask
		}
		open[i] = append(open[i], turn{"user", ask})
		if err := w.send(open[i]); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		open[i] = append(open[i], turn{"assistant", randomWords(w.r, 1+w.r.IntN(150))})
		if len(open[i]) > 12 {
			open = slices.Delete(open, i, i+1)
		}
		if w.r.IntN(60) == 0 {
			w.engines[w.r.IntN(3)].reset()
		}
	}
	return w.x.validate()
}

// With the texts of the tokens the prediction is exact as far as text is linked, and
// never too high.
func TestPredictionIsTheTruth(t *testing.T) {
	for seed := range seeds(manySeeds) {
		for _, size := range [][2]int{{16, 256}, {1, 64}, {128, 256}, {16, 1000}} {
			w := newWorld(seed, 64<<20, size[0], size[1], true)
			if err := w.run(120); err != nil {
				t.Fatalf("seed %d, blocks of %d tokens, text blocks of %d: %v", seed, size[0], size[1], err)
			}
			if w.contradicted > 0 {
				t.Fatalf("seed %d, blocks of %d tokens, text blocks of %d: %d contradictions", seed, size[0], size[1], w.contradicted)
			}
			if size[0] == 16 && seed == 0 {
				t.Logf("blocks of %d tokens, text blocks of %d: %.2f%% short of the truth", size[0], size[1], 100*float64(w.short)/float64(w.tokens))
			}
		}
	}
}

// Under a limit without room for all, it is still never too high.
func TestPredictionUnderALimit(t *testing.T) {
	for seed := range seeds(manySeeds) {
		w := newWorld(seed, 1200<<10, 16, 64, true)
		if err := w.run(600); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if n := w.x.Stats().Links; n > len(w.linked)*3/4 || n < len(w.linked)/8 {
			t.Fatalf("seed %d: %d of %d links are there", seed, n, len(w.linked))
		}
	}
}

// Estimates are corrected where prompts diverge.
func TestPredictionFromEstimates(t *testing.T) {
	for seed := range seeds(manySeeds) {
		w := newWorld(seed, 64<<20, 16, 256, false)
		if err := w.run(300); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		off, short := 100*float64(w.off)/float64(w.tokens), 100*float64(w.short)/float64(w.tokens)
		t.Logf("seed %d: %.2f%% too much, %.2f%% too little, %d contradictions", seed, off, short, w.contradicted)
		if off > 0.5 || short > 10 || w.contradicted > 0 {
			t.Fatalf("seed %d: %.2f%% too much, %.2f%% too little, %d contradictions", seed, off, short, w.contradicted)
		}
	}
}
