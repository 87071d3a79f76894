// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"errors"
	"slices"
	"time"
)

// Config describes one simulated node. The zero value of every field means its
// default.
type Config struct {
	// Models are the names the node serves: the base model first, adapters
	// (LoRA) after it. Requests for another model get 404. Default: none, which
	// serves one model under any name and lists "simulated" in /v1/models.
	Models []string
	// Aliases are further names of the base model, as with more than one
	// --served-model-name. Default: none.
	Aliases []string

	// Ranks is the number of data-parallel ranks: engine cores, each with its own
	// cache, queue and events, behind one HTTP server. Requests go to them in
	// turn, or to the rank in X-data-parallel-rank. The sizes and rates below are
	// those of one rank. Default: 1.
	Ranks int

	// BlockTokens is the size of a KV block in tokens. Default: 16.
	BlockTokens int
	// CacheBlocks is the KV memory of the node in blocks. Default: 10000.
	CacheBlocks int
	// MaxModelLen bounds prompt and output of one request, in tokens. Default:
	// the size of the cache, at most 131072.
	MaxModelLen int

	// PrefillRate is in prompt tokens per second. Default: 8000.
	PrefillRate float64
	// ChunkTokens bounds the prompt tokens of one step. Default: 512.
	ChunkTokens int
	// MaxBatch bounds the running requests; more wait. Default: 256.
	MaxBatch int
	// DecodeRate is the output tokens per second of a request that runs alone.
	// Default: 50.
	DecodeRate float64
	// DecodeSlowdown is the share by which each further request in the batch
	// lengthens a decode step. Default: 0.01. Negative: none.
	DecodeSlowdown float64

	// Speed divides all simulated time: at 10, a simulated second takes 100 ms.
	// Default: 1.
	Speed float64

	// HidePromptDetails leaves cached tokens out of the answers, as vLLM does
	// without --enable-prompt-tokens-details.
	HidePromptDetails bool
	// OutputTokens is the length of default answers, the end of sequence
	// included. max_tokens cuts them. Default: 32.
	OutputTokens int
	// Responder makes the answers. Default: Words(OutputTokens).
	Responder Responder

	// ChunkSizes cuts the text of streams into pieces of these many bytes, in
	// turn and over again, at character boundaries (a piece holds at least one
	// character). Default: none, one piece per token.
	ChunkSizes []int
	// StreamInterval is the number of tokens per piece (the first token is sent
	// at once), like vLLM's --stream-interval. Without ChunkSizes only.
	// Default: 1.
	StreamInterval int
	// FinishWithContent puts finish_reason on the last piece of text instead of
	// an empty piece of its own. Engines do either.
	FinishWithContent bool

	// ScaleOut offers the render endpoints, as --enable-scale-out does; without
	// it they answer 403.
	ScaleOut bool
	// Spelling is the spelling of tokens in /tokenize with return_token_strs:
	// SpellBytes (the default), SpellSentence or SpellText.
	Spelling string

	// External, if set, keeps KV blocks outside the GPU, as LMCache does. All
	// ranks share it.
	External External

	// Events, if set, publishes the changes of the prefix cache.
	Events *EventsConfig

	// MaxBody bounds a request's body in bytes; 413 above. Default: 64 MiB.
	MaxBody int64
	// Record is the number of latest requests to keep with their headers and
	// bodies, 64 MiB together at most. Default: none.
	Record int

	loaded *loadedAdapters // besides Models; set by withDefaults
}

// Bounds of a Config, so that a typo does not exhaust the machine's memory.
const (
	maxRanks       = 256
	maxBlocks      = 1 << 24
	maxModelLen    = 131072
	maxOutput      = 1 << 20
	recordBytes    = 64 << 20
	historyEntries = 1 << 14
)

var errConfig = errors.New("enginesim: a size or rate in the config is negative or out of range")

// withDefaults returns c with every default filled in.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Ranks, 1)
	setDefault(&c.BlockTokens, 16)
	setDefault(&c.CacheBlocks, 10000)
	setDefault(&c.PrefillRate, 8000)
	setDefault(&c.ChunkTokens, 512)
	setDefault(&c.MaxBatch, 256)
	setDefault(&c.DecodeRate, 50)
	setDefault(&c.DecodeSlowdown, 0.01)
	setDefault(&c.Speed, 1)
	setDefault(&c.OutputTokens, 32)
	setDefault(&c.StreamInterval, 1)
	setDefault(&c.MaxBody, 64<<20)
	setDefault(&c.MaxModelLen, min(c.CacheBlocks*c.BlockTokens, maxModelLen))
	c.loaded = new(loadedAdapters)
	if c.Responder == nil {
		c.Responder = Words(c.OutputTokens)
	}
	if c.Events != nil {
		events, err := c.Events.withDefaults()
		if err != nil {
			return c, err
		}
		c.Events = &events
	}
	for _, n := range []int{c.BlockTokens, c.CacheBlocks, c.ChunkTokens, c.MaxBatch, c.OutputTokens, c.StreamInterval, c.MaxModelLen} {
		if n < 1 || n > maxBlocks {
			return c, errConfig
		}
	}
	for _, f := range []float64{c.PrefillRate, c.DecodeRate, c.Speed} {
		if !(f > 0 && f <= float64(time.Second)) { // also refuses NaN
			return c, errConfig
		}
	}
	for _, n := range c.ChunkSizes {
		if n < 1 {
			return c, errConfig
		}
	}
	if c.Spelling == "" {
		c.Spelling = SpellBytes
	}
	if !slices.Contains([]string{SpellBytes, SpellSentence, SpellText}, c.Spelling) {
		return c, errConfig
	}
	if c.Ranks < 1 || c.Ranks > maxRanks || c.MaxBody < 1 || c.Record < 0 || c.OutputTokens > maxOutput || c.MaxModelLen > c.CacheBlocks*c.BlockTokens {
		return c, errConfig
	}
	return c, nil
}

func setDefault[T int | int64 | float64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// models returns the models that /v1/models lists.
func (c *Config) models() []string {
	if len(c.Models) == 0 {
		return []string{"simulated"}
	}
	return slices.Concat(c.Models[:1], c.Aliases, c.Models[1:], c.loaded.list())
}

// root returns the path that the base model was loaded from, by which LMCache
// knows it.
func (c *Config) root() string { return "/models/" + c.models()[0] }

// adapter returns the adapter (LoRA) that a request for this model uses, empty
// for the base model. Without Models every name is one for the base model.
func (c *Config) adapter(model string) string {
	if len(c.Models) == 0 || model == c.Models[0] || slices.Contains(c.Aliases, model) {
		return ""
	}
	return model
}
