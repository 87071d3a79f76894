// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"strconv"
	"time"
)

// Usage is what an engine said about one answer.
type Usage struct {
	// PromptTokens counts the whole prompt, cached tokens included; 0 when it
	// was not reported.
	PromptTokens int

	// CompletionTokens counts what was generated; 0 when it was not reported.
	CompletionTokens int

	// CachedTokens counts the tokens of the prompt that the engine took from
	// its cache. It says something only when Cached is set.
	CachedTokens int

	// Cached tells that CachedTokens was reported: absent, null and impossible
	// numbers say nothing, 0 says that nothing was cached.
	Cached bool

	// PrefillTokens and PrefillTime are the engine's own measurement of how
	// many tokens it computed for the prompt and how long that took
	// (llama.cpp's timings); 0 when they were not reported.
	PrefillTokens int
	PrefillTime   time.Duration
}

const (
	// maxTokens is above every context length; larger counts are ignored.
	maxTokens = 1 << 28

	// maxPrefill is above every prefill; longer ones are ignored.
	maxPrefill = 24 * time.Hour
)

// count is a number that may not have been reported.
type count struct {
	n  int
	ok bool
}

// counts holds an answer's numbers as reported. Streams report them in several
// events, so the latest of each is kept and the sum is made at the end.
type counts struct {
	prompt, completion, cached             count // OpenAI, SGLang, llama.cpp
	input, output, inputCached             count // OpenAI responses; Anthropic without inputCached
	cacheRead, cacheCreation               count // Anthropic
	timedCached, timedPrompt, timedPredict count // llama.cpp timings
	prefill                                time.Duration
}

// readUsage reads a usage object; anything else says nothing.
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

// readTimings reads llama.cpp's timings object; anything else says nothing.
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

// read takes a whole number within bounds; anything else says nothing and
// leaves what was said before.
func (n *count) read(c *cursor) {
	if i, ok := digits(c.bytes(c.value()), maxTokens); ok {
		*n = count{i, true}
	}
}

// readDetails takes the cached_tokens of a details object.
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

// usage sums up; ok is false when nothing was reported.
//
// Anthropic's input_tokens leaves out what was read from and written to the
// cache (vLLM and llama.cpp keep to that), OpenAI's includes it. The engine's
// own timings win over the usage object, in which some engines hard-code 0.
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
