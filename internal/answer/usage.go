// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"strconv"
	"time"
)

// Usage is the engine's report about one answer.
type Usage struct {
	// PromptTokens counts the whole prompt with its cached tokens; 0: not
	// reported.
	PromptTokens int

	// CompletionTokens counts the generated tokens; 0: not reported.
	CompletionTokens int

	// CachedTokens counts the tokens of the prompt that the engine found in its
	// KV cache. It has a meaning only when Cached is set.
	CachedTokens int

	// Cached: the engine reported CachedTokens. Missing, null and impossible
	// numbers do not count; 0 does.
	Cached bool

	// PrefillTokens and PrefillTime are the prompt tokens that the engine
	// computed and the time it took, by the timings of llama.cpp; 0: not
	// reported.
	PrefillTokens int
	PrefillTime   time.Duration
}

const (
	// maxTokens is above every context length; larger counts are ignored.
	maxTokens = 1 << 28

	// maxPrefill is above every prefill; longer ones are ignored.
	maxPrefill = 24 * time.Hour
)

// count is a number of an engine's report.
type count struct {
	n  int
	ok bool // reported
}

// counts holds the numbers of an answer as reported. Streams report them in
// several events, so counts keeps the latest of each until the end.
type counts struct {
	prompt, completion, cached             count // OpenAI, SGLang, llama.cpp
	input, output, inputCached             count // OpenAI responses; Anthropic without inputCached
	cacheRead, cacheCreation               count // Anthropic
	timedCached, timedPrompt, timedPredict count // llama.cpp timings
	prefill                                time.Duration
}

// readUsage reads a usage object and skips any other value.
func (n *counts) readUsage(c *cursor) {
	if c.peek() != '{' {
		c.skip()
		return
	}
	for ok := c.open('{', '}'); ok; ok = c.more('}') {
		switch string(c.bytes(c.key())) {
		case "prompt_tokens":
			n.prompt.read(c)
		case "completion_tokens":
			n.completion.read(c)
		case "prompt_tokens_details":
			n.cached.readDetails(c)
		case "input_tokens":
			n.input.read(c)
		case "output_tokens":
			n.output.read(c)
		case "input_tokens_details":
			n.inputCached.readDetails(c)
		case "cache_read_input_tokens":
			n.cacheRead.read(c)
		case "cache_creation_input_tokens":
			n.cacheCreation.read(c)
		default:
			c.skip()
		}
	}
}

// readTimings reads llama.cpp's timings object and skips any other value.
func (n *counts) readTimings(c *cursor) {
	if c.peek() != '{' {
		c.skip()
		return
	}
	for ok := c.open('{', '}'); ok; ok = c.more('}') {
		switch string(c.bytes(c.key())) {
		case "cache_n":
			n.timedCached.read(c)
		case "prompt_n":
			n.timedPrompt.read(c)
		case "predicted_n":
			n.timedPredict.read(c)
		case "prompt_ms":
			n.readPrefill(c.bytes(c.value()))
		default:
			c.skip()
		}
	}
}

func (n *counts) readPrefill(b []byte) {
	if len(b) == 0 || len(b) > 32 || b[0] < '0' || b[0] > '9' {
		return
	}
	ms, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !(ms > 0) || ms > float64(maxPrefill/time.Millisecond) {
		return
	}
	n.prefill = time.Duration(ms * float64(time.Millisecond))
}

// read takes a whole number within bounds. Any other value changes nothing.
func (n *count) read(c *cursor) {
	if i, ok := digits(c.bytes(c.value()), maxTokens); ok {
		*n = count{i, true}
	}
}

// readDetails reads the cached_tokens of a details object.
func (n *count) readDetails(c *cursor) {
	if c.peek() != '{' {
		c.skip()
		return
	}
	for ok := c.open('{', '}'); ok; ok = c.more('}') {
		if string(c.bytes(c.key())) == "cached_tokens" {
			n.read(c)
		} else {
			c.skip()
		}
	}
}

// usage returns the sum; ok is false when nothing was reported.
//
// Anthropic's input_tokens excludes the tokens read from and written to the cache,
// also in vLLM and llama.cpp; OpenAI's includes them. The engine's timings win
// over the usage object, where some engines hard-code 0.
func (n *counts) usage() (u Usage, ok bool) {
	switch {
	case n.prompt.ok:
		u.PromptTokens = n.prompt.n
	case n.input.ok && n.inputCached.ok:
		u.PromptTokens = n.input.n
	case n.input.ok:
		u.PromptTokens = n.input.n + n.cacheRead.n + n.cacheCreation.n
	case n.timedPrompt.ok && n.timedCached.ok:
		u.PromptTokens = n.timedPrompt.n + n.timedCached.n
	}
	u.CompletionTokens = first(n.completion, n.output, n.timedPredict).n
	if cached := first(n.timedCached, n.cached, n.inputCached, n.cacheRead); cached.ok && cached.n <= u.PromptTokens {
		u.CachedTokens, u.Cached = cached.n, true
	}
	if n.timedPrompt.n > 0 && n.prefill > 0 {
		u.PrefillTokens, u.PrefillTime = n.timedPrompt.n, n.prefill
	}
	return u, u != Usage{}
}

// first returns the first number that was reported.
func first(all ...count) count {
	for _, n := range all {
		if n.ok {
			return n
		}
	}
	return count{}
}
