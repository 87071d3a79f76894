// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestMediaAreLearnedByModel(t *testing.T) {
	rt, _ := newTestRouter()
	if got := rt.MediaTokens("any"); got != startMedia {
		t.Fatalf("before anything is known: %v", got)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 400 {
		for model, each := range map[string]float64{"small": 64, "large": 2500} {
			text, media := rnd.IntN(10_000), 1+rnd.IntN(4)
			tokens := float64(text) / 4 * (0.9 + 0.2*rnd.Float64()) // of text, as it is estimated
			for range media {
				tokens += each * (0.5 + rnd.Float64())
			}
			rt.LearnMedia(model, media, text, int(tokens))
		}
	}
	for model, want := range map[string]float64{"small": 64, "large": 2500, "other": startMedia} {
		if got := rt.MediaTokens(model); math.Abs(got-want) > want/6 {
			t.Errorf("%s: %.0f tokens each, want about %v", model, got, want)
		}
	}
}

// The tokens of the text are counted with the model's own token size.
func TestMediaBesideTextOfKnownSize(t *testing.T) {
	rt, _ := newTestRouter()
	for range 300 {
		rt.LearnTokens("m", 20_000, 10_000)
	}
	for range 300 {
		rt.LearnMedia("m", 1, 2000, 1000+300)
	}
	if got := rt.MediaTokens("m"); math.Abs(got-300) > 15 {
		t.Errorf("%.0f tokens each, want 300", got)
	}
}

func TestMediaAreBounded(t *testing.T) {
	rt, _ := newTestRouter()
	rt.LearnMedia("m", 1, 0, 120_000)
	if got := rt.MediaTokens("m"); got > outlier*startMedia {
		t.Errorf("%.0f after a single one", got)
	}
	for range 10_000 {
		rt.LearnMedia("m", 1, 0, 120_000)
	}
	if got := rt.MediaTokens("m"); got != largestMedia {
		t.Errorf("%.0f after many", got)
	}
	for range 10_000 {
		rt.LearnMedia("m", 1000, 4_000_000, 1) // the text alone would be more
	}
	if got := rt.MediaTokens("m"); got != smallestMedia {
		t.Errorf("%v after prompts without room for any", got)
	}
	for _, nonsense := range [][3]int{{0, 1, 1}, {-1, 1, 1}, {1, -1, 1}, {1, 1, 0}, {1, 1, 1 << 40}} {
		rt.LearnMedia("n", nonsense[0], nonsense[1], nonsense[2])
	}
	if got := rt.MediaTokens("n"); got != startMedia {
		t.Errorf("%v learned from nonsense", got)
	}
}
