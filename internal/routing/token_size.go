// SPDX-License-Identifier: Apache-2.0

package routing

const (
	// maxModels bounds the models whose token size is learned; further ones share
	// one estimate.
	maxModels = 256
	// sizeMemory is the number of prompts that are averaged.
	sizeMemory = 256
	// startSize is the weight of DefaultBytesPerToken at first, in tokens.
	startSize = 2000
	// The bounds of the learned size, in bytes a token: less than one is no text,
	// and more than a line is no token.
	smallestToken, largestToken = 1, 64
)

// tokenSize is the number of bytes of prompt in a token, and of tokens in a medium.
// The zero value has learned nothing.
type tokenSize struct {
	textBytes, tokens float64 // fading
	media             mediaSize
}

func (t *tokenSize) learn(bytes, tokens int) {
	const fade = 1 - 1.0/sizeMemory
	t.textBytes = t.textBytes*fade + float64(bytes)
	t.tokens = t.tokens*fade + float64(tokens)
}

// perToken returns the bytes a token stands for; start is the prior.
func (t *tokenSize) perToken(start float64) float64 {
	return min(largestToken, max(smallestToken, (t.textBytes+startSize*start)/(t.tokens+startSize)))
}

// tokenSizes holds the size of tokens for each model. The zero value has learned
// nothing.
type tokenSizes struct {
	models map[string]*tokenSize
	others tokenSize
}

func (t *tokenSizes) forModel(model string, add bool) *tokenSize {
	size := t.models[model]
	switch {
	case size != nil:
		return size
	case !add || len(t.models) >= maxModels:
		return &t.others
	case t.models == nil:
		t.models = make(map[string]*tokenSize)
	}
	size = new(tokenSize)
	t.models[model] = size
	return size
}

// BytesPerToken returns the number of bytes of prompt in a token of the model,
// as learned from LearnTokens; DefaultBytesPerToken before that.
func (rt *Router) BytesPerToken(model string) float64 {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.tokenSizes.forModel(model, false).perToken(DefaultBytesPerToken)
}

// LearnTokens learns from the number of tokens that an engine reports for a prompt
// of so many bytes of text.
func (rt *Router) LearnTokens(model string, bytes, tokens int) {
	if bytes <= 0 || tokens <= 0 || bytes > largestToken*tokens || bytes < smallestToken*tokens {
		return
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.tokenSizes.forModel(model, true).learn(bytes, tokens)
}
