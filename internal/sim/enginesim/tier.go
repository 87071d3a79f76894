// SPDX-License-Identifier: Apache-2.0

package enginesim

import "time"

// External keeps KV blocks of one node outside its GPU, like LMCache in CPU memory
// and on disk. Only the Scheduler loads from it, for a scheduled request. All
// times are the engine's simulated times, and a chunk is the External's unit, not
// the GPU's block.
//
// Its methods run with the engine's lock held and must not call back.
type External interface {
	// Attach sets the model and the clock. New calls it before anything else.
	Attach(model string, now func() time.Duration)
	// ChunkTokens returns the tokens of a chunk.
	ChunkTokens() int
	// Chain returns the hashes of a prompt's whole chunks, each over all before it.
	Chain(model, salt string, tokens []uint32) []uint64
	// Load returns how many leading chunks of a chain it holds, and the time at
	// which those from the given one on are in the GPU.
	Load(at time.Duration, chain []uint64, from int) (held int, ready time.Duration)
	// Store keeps the chunks of a chain, whose KV has been computed.
	Store(at time.Duration, chain []uint64)
}

// Reporter is an External that reports its changes, for EventsConfig.External.
type Reporter interface {
	External
	// Changes returns the changes since the last call, in order.
	Changes() []ExternalChange
}

// ExternalChange reports that a medium, such as CPU or STORAGE, holds a chunk, or
// no longer holds it.
type ExternalChange struct {
	Chunk   uint64
	Medium  string
	Removed bool
}

// idlePoll is the simulated time after which an engine that only waits for loads
// looks for new requests.
const idlePoll = time.Millisecond

// externalState is a Job's state in the external tier.
type externalState struct {
	chain []uint64
	ready time.Duration // time at which the blocks found there are loaded
}

// attach gives the external tier the model and the clock.
func (e *Engine) attach() {
	if e.cfg.External != nil {
		e.cfg.External.Attach(e.cfg.root(), e.clock.now)
	}
}

// load looks up the rest of j's prompt in the external tier. Blocks found there
// need no computing, but j waits until they are loaded; the engine works on other
// jobs meanwhile.
func (s *Scheduler) load(j *Job, at time.Duration) {
	x := s.cfg.External
	if x == nil || j.Chain == nil {
		return
	}
	model := j.Adapter
	if model == "" {
		model = s.cfg.root()
	}
	size, block := x.ChunkTokens(), s.cfg.BlockTokens
	j.external.chain = x.Chain(model, j.Salt, j.Tokens)
	s.externalQueries += int64(j.PromptTokens - j.computed)
	held, ready := x.Load(at, j.external.chain[:min(j.PromptTokens/size, len(j.external.chain))], j.computed/size)
	usable := min(held*size, j.PromptTokens-1) / block * block // the last prompt token is always computed
	if usable <= j.computed {
		return
	}
	s.externalHits += int64(usable - j.computed)
	j.Cached, j.computed, j.external.ready = usable, usable, ready
}

// loading reports whether j waits for blocks of the external tier.
func (j *Job) loading(at time.Duration) bool { return j.external.ready > at }

// awaitLoads ends a step without work at the end of the first load, or after
// idlePoll.
func (s *Scheduler) awaitLoads(at time.Duration) {
	s.stepEnd = at + idlePoll
	for _, j := range s.running {
		if j.loading(at) {
			s.stepEnd = min(s.stepEnd, j.external.ready)
		}
	}
}

// store keeps the chunks among j's first tokens in the external tier.
func (s *Scheduler) store(j *Job, tokens int) {
	if x := s.cfg.External; x != nil && len(j.external.chain) > 0 {
		chain := j.external.chain[:min(tokens/x.ChunkTokens(), len(j.external.chain))]
		x.Store(s.now, chain)
		if r, ok := s.watcher.(*recorder); ok && r.chunks != nil {
			r.remember(j, chain, x.ChunkTokens())
		}
	}
}

// external writes vLLM's counters of a KV connector, if there is one.
func (m *exposition) external(x External) {
	if x == nil {
		return
	}
	m.metric("counter", "vllm:external_prefix_cache_queries", "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens.", "_total", func(s *series) float64 { return float64(s.ExternalQueries) })
	m.metric("counter", "vllm:external_prefix_cache_hits", "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.", "_total", func(s *series) float64 { return float64(s.ExternalHits) })
}
