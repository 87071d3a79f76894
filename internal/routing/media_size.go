// SPDX-License-Identifier: Apache-2.0

package routing

const (
	// startMedia is the number of tokens in an image or another medium until some were
	// observed: the 24 by 24 patches of LLaVA-1.5
	// (https://arxiv.org/abs/2310.03744), and the order of magnitude of others.
	startMedia = 576
	// startMediaWeight is the weight of startMedia, in media seen.
	startMediaWeight = 1
	// mediaMemory is the number of prompts with media that are averaged.
	mediaMemory = 256
	// The bounds of the learned size, in tokens. Some templates have one token for
	// a medium that the engine fetches; an hour of sound is not more.
	smallestMedia, largestMedia = 1, 1 << 16
)

// mediaSize is the mean number of tokens of a medium: those that prompts have beyond
// their text. The zero value has learned nothing.
type mediaSize struct {
	tokens, media float64 // weighted, fading
}

func (m *mediaSize) tokensPerMedium() float64 {
	each := (m.tokens + startMediaWeight*startMedia) / (m.media + startMediaWeight)
	return min(largestMedia, max(smallestMedia, each))
}

// learn adds a prompt of so many tokens, of which text are estimated to be text.
// That estimate is right to some percent, so a prompt says the more about media
// the less text it has: its weight is the share that media have in it. A single
// prompt cannot raise the size by more than outlier: it may be a video among
// images.
func (m *mediaSize) learn(media int, text, tokens float64) {
	const fade = 1 - 1.0/mediaMemory
	expected := float64(media) * m.tokensPerMedium()
	weight := expected / (expected + text)
	m.tokens = m.tokens*fade + weight*min(tokens-text, outlier*expected)
	m.media = m.media*fade + weight*float64(media)
}

// MediaTokens returns the tokens of an image or another medium in a prompt for the
// model, as learned from LearnMedia; 576 before that.
func (rt *Router) MediaTokens(model string) float64 {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.tokenSizes.forModel(model, false).media.tokensPerMedium()
}

// LearnMedia learns from the number of tokens that an engine reports for a prompt
// with some media and so many bytes of text.
func (rt *Router) LearnMedia(model string, media, bytes, tokens int) {
	if media <= 0 || bytes < 0 || tokens <= 0 || tokens/media > 2*largestMedia {
		return
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	size := rt.tokenSizes.forModel(model, true)
	size.media.learn(media, float64(bytes)/size.perToken(DefaultBytesPerToken), float64(tokens))
}
