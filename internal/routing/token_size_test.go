// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math"
	"testing"
)

func TestTokenSizeIsLearnedByModel(t *testing.T) {
	rt, _ := newTestRouter()
	if got := rt.BytesPerToken("any"); got != DefaultBytesPerToken {
		t.Fatalf("before anything is known: %v", got)
	}
	for range 100 {
		rt.LearnTokens("dense", 3000, 1500)
		rt.LearnTokens("wide", 6000, 1000)
		rt.LearnTokens("dense", 1_000_000, 10) // an image, or nonsense
		rt.LearnTokens("dense", 10, 1_000_000)
		rt.LearnTokens("dense", -1, -1)
	}
	for model, want := range map[string]float64{"dense": 2, "wide": 6, "other": DefaultBytesPerToken} {
		if got := rt.BytesPerToken(model); math.Abs(got-want) > 0.1 {
			t.Errorf("%s: %v bytes a token, want %v", model, got, want)
		}
	}
}

func TestTokenSizesAreBounded(t *testing.T) {
	rt, _ := newTestRouter()
	for i := range 10 * maxModels {
		rt.LearnTokens(fmt.Sprint("model-", i), 3000, 1000)
	}
	if n := len(rt.tokenSizes.models); n != maxModels {
		t.Errorf("%d models remembered", n)
	}
	if got := rt.BytesPerToken("never seen"); got > 3.1 {
		t.Errorf("the other models' sizes are not used: %v", got)
	}
}
