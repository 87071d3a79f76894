// SPDX-License-Identifier: Apache-2.0

package enginesim

import "time"

// Job is one request to the scheduler: lengths and block hashes. The caller fills
// the fields up to OnProgress and does not change them after Submit; the
// scheduler fills the rest, which may be read while no method of the Scheduler
// runs.
type Job struct {
	PromptTokens int      // at least 1
	OutputTokens int      // tokens to generate; 0: done with prefill (embeddings)
	Chain        []uint64 // hashes of the full blocks of prompt and output; nil: cache nothing

	// For a cacheWatcher, beside the hashes.
	Tokens  []uint32 // of prompt and output
	Adapter string   // LoRA, empty: the base model
	Salt    string   // cache_salt
	Reports bool     // its reused blocks are reported as stored

	// OnProgress, if set, is called after each change of Produced or Done. It runs
	// inside the Scheduler's method and must not call back into it.
	OnProgress func(*Job)

	Arrival    time.Duration // time of Submit; all times are simulated
	Scheduled  time.Duration // start of prefill
	FirstToken time.Duration // time of the first token
	Finished   time.Duration // time of the last token, or of the cancellation
	Cached     int           // prompt tokens found in the prefix cache
	Produced   int           // tokens generated so far
	Done       bool          // finished or cancelled
	Cancelled  bool

	started   bool
	computed  int // prompt tokens with KV
	planned   int // prompt tokens of the step under way
	decoding  bool
	blocks    []int32
	committed int // how many of blocks are in the cache
	external  externalState
}

// Scheduler is the engine without HTTP: a discrete-event simulation of a
// continuous-batching scheduler with chunked prefill and a prefix cache. The
// caller passes the time, so a test needs no clock. The Scheduler starts no
// goroutines and never sleeps.
//
// The engine works in steps, as vLLM does. A step gives every running request
// past its prefill one token, and spends up to ChunkTokens prompt tokens on the
// others, oldest first, new requests last. It takes
//
//	prefill tokens / PrefillRate + (1 + DecodeSlowdown*(decodes-1)) / DecodeRate
//
// (the second term only if a request decodes), and its tokens appear at its end.
//
// A Scheduler is not safe for concurrent use.
type Scheduler struct {
	cfg      Config
	cache    *blockCache
	waiting  []*Job
	running  []*Job
	now      time.Duration // end of the last step
	stepEnd  time.Duration
	stepping bool

	watcher cacheWatcher // may be nil

	queries, hits                 int64 // tokens looked up in the prefix cache, and found there
	externalQueries, externalHits int64 // the same for the external tier
}

// cacheWatcher observes the changes of a prefix cache, in order. It must not call
// back into the Scheduler.
type cacheWatcher interface {
	// stored reports that blocks from to to-1 of j's chain entered the cache, each
	// in a block of its own, even if others hold the same hash. For a job that reports
	// its reused blocks, it also names those, from 0.
	stored(j *Job, from, to int)
	// removed reports that one copy of this block was evicted.
	removed(hash uint64)
	// cleared reports that the cache is empty.
	cleared()
	// stepped reports that a step has been planned, to which all changes since
	// the last one belong.
	stepped()
}

// NewScheduler returns an idle scheduler at time 0. It uses only the sizes and
// rates of cfg: BlockTokens, CacheBlocks, PrefillRate, ChunkTokens, MaxBatch,
// DecodeRate and DecodeSlowdown. Zero values are the defaults. It fails on values
// out of range.
func NewScheduler(cfg Config) (*Scheduler, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Scheduler{cfg: cfg, cache: newBlockCache(cfg.CacheBlocks)}, nil
}

// Fits reports whether a request of this many tokens could ever run.
func (s *Scheduler) Fits(tokens int) bool { return s.blocksFor(tokens) <= s.cfg.CacheBlocks }

// Submit queues j, which arrives at time at: not before the last Advance, and not
// before the previous job. It panics on a job that can never run (see Fits),
// because that would block the queue for ever.
func (s *Scheduler) Submit(j *Job, at time.Duration) {
	if j.PromptTokens < 1 || j.OutputTokens < 0 || !s.Fits(j.PromptTokens+j.OutputTokens) {
		panic("enginesim: a job that can never run")
	}
	j.Arrival = at
	s.waiting = append(s.waiting, j)
}

// Cancel ends j at time at, as an engine does when the client is gone. Computed
// blocks stay cached. It does nothing to a job that is done.
func (s *Scheduler) Cancel(j *Job, at time.Duration) {
	if j.Done {
		return
	}
	if j.started {
		s.running = remove(s.running, j)
		s.cache.release(j.blocks)
		j.blocks = nil
	} else {
		s.waiting = remove(s.waiting, j)
	}
	j.Cancelled = true
	s.finish(j, at)
}

// Advance handles all events up to and including time to.
func (s *Scheduler) Advance(to time.Duration) {
	for {
		at, ok := s.Next()
		if !ok || at > to {
			return
		}
		if s.stepping {
			s.endStep()
		} else {
			s.startStep(at)
		}
	}
}

// Next returns the time of the next event, which may lie in the past, or false if
// the engine is idle.
func (s *Scheduler) Next() (time.Duration, bool) {
	switch {
	case s.stepping:
		return s.stepEnd, true
	case len(s.running) > 0:
		return s.now, true
	case len(s.waiting) > 0:
		return max(s.now, s.waiting[0].Arrival), true
	}
	return 0, false
}

// Load returns the numbers of running and waiting requests, and the share of
// blocks that running requests hold (0 to 1).
func (s *Scheduler) Load() (running, waiting int, usage float64) {
	used := len(s.cache.blocks) - s.cache.free
	return len(s.running), len(s.waiting), float64(used) / float64(len(s.cache.blocks))
}

// CacheCounts returns how many prompt tokens were looked up in the prefix
// cache, how many of them were found, and how many blocks were evicted.
func (s *Scheduler) CacheCounts() (queries, hits, evictions int64) {
	return s.queries, s.hits, s.cache.evictions
}

// ClearCache forgets all cached prefixes.
func (s *Scheduler) ClearCache() {
	s.cache.clear()
	if s.watcher != nil {
		s.watcher.cleared()
	}
}

// setWatcher sets the observer of the cache.
func (s *Scheduler) setWatcher(w cacheWatcher) {
	s.watcher, s.cache.evicted = w, w.removed
}

// crash ends all jobs at time at and drops everything, as when the process dies:
// without a call to the watcher.
func (s *Scheduler) crash(at time.Duration) {
	for len(s.running) > 0 {
		s.Cancel(s.running[0], at)
	}
	for len(s.waiting) > 0 {
		s.Cancel(s.waiting[0], at)
	}
	s.stepping, s.now = false, at
	s.cache.clear()
	s.forgetCounts()
}

func (s *Scheduler) forgetCounts() {
	s.queries, s.hits, s.cache.evictions = 0, 0, 0
	s.externalQueries, s.externalHits = 0, 0
}

// startStep plans the step that begins at time at.
func (s *Scheduler) startStep(at time.Duration) {
	budget, decodes := s.cfg.ChunkTokens, 0
	for _, j := range s.running {
		if j.loading(at) {
			continue
		}
		j.decoding = j.computed == j.PromptTokens
		if j.decoding {
			decodes++
			s.commit(j, j.PromptTokens+j.Produced)
		} else {
			budget -= s.plan(j, budget)
		}
	}
	for budget > 0 && len(s.running) < s.cfg.MaxBatch && len(s.waiting) > 0 {
		j := s.waiting[0]
		if j.Arrival > at || !s.admit(j, at) {
			break // first come, first served: no job overtakes one that does not fit
		}
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		s.running = append(s.running, j)
		if !j.loading(at) {
			budget -= s.plan(j, budget)
		}
	}
	s.stepping = true
	s.stepEnd = at + s.stepTime(s.cfg.ChunkTokens-budget, decodes)
	if budget == s.cfg.ChunkTokens && decodes == 0 {
		s.awaitLoads(at)
	}
	if s.watcher != nil {
		s.watcher.stepped()
	}
}

// admit gives j its blocks. It reports false if there is no room.
func (s *Scheduler) admit(j *Job, at time.Duration) bool {
	size := s.cfg.BlockTokens
	// The last prompt token is always computed: its logits are the first
	// output token.
	held, hits, ok := s.cache.acquire(j.Chain, (j.PromptTokens-1)/size, s.blocksFor(j.PromptTokens+j.OutputTokens))
	if !ok {
		return false
	}
	j.blocks, j.committed = held, hits
	j.Cached = hits * size
	j.computed = j.Cached
	j.Scheduled, j.started = at, true
	s.queries += int64(j.PromptTokens)
	s.hits += int64(j.Cached)
	if j.Reports && hits > 0 && s.watcher != nil {
		s.watcher.stored(j, 0, hits)
	}
	s.load(j, at)
	return true
}

// plan gives j up to budget tokens of prefill in this step. As in vLLM, blocks
// enter the cache when they are scheduled, before they are computed.
func (s *Scheduler) plan(j *Job, budget int) int {
	j.planned = min(budget, j.PromptTokens-j.computed)
	s.commit(j, j.computed+j.planned)
	return j.planned
}

// commit enters the full blocks among j's first tokens into the cache.
func (s *Scheduler) commit(j *Job, tokens int) {
	full, first := min(tokens/s.cfg.BlockTokens, len(j.Chain)), j.committed
	for ; j.committed < full; j.committed++ {
		s.cache.commit(j.blocks[j.committed], j.Chain[j.committed])
	}
	if s.watcher != nil && j.committed > first {
		s.watcher.stored(j, first, j.committed)
	}
}

func (s *Scheduler) stepTime(prefill, decodes int) time.Duration {
	seconds := float64(prefill) / s.cfg.PrefillRate
	if decodes > 0 {
		seconds += (1 + max(s.cfg.DecodeSlowdown, 0)*float64(decodes-1)) / s.cfg.DecodeRate
	}
	return time.Duration(seconds * float64(time.Second))
}

// endStep ends the current step and gives the jobs their tokens.
func (s *Scheduler) endStep() {
	s.stepping, s.now = false, s.stepEnd
	kept := s.running[:0]
	for _, j := range s.running {
		if s.endStepOf(j) {
			s.store(j, j.PromptTokens+j.Produced)
			s.cache.release(j.blocks)
			j.blocks = nil
			s.finish(j, s.now)
			continue
		}
		kept = append(kept, j)
	}
	clear(s.running[len(kept):])
	s.running = kept
}

// endStepOf adds the step's tokens to j and reports whether j is complete.
func (s *Scheduler) endStepOf(j *Job) bool {
	switch {
	case j.decoding:
		j.Produced++
	case j.planned == 0:
		return false // it got nothing of the step's budget
	default:
		j.computed += j.planned
		j.planned = 0
		if j.computed < j.PromptTokens {
			return false
		}
		j.FirstToken = s.now
		s.store(j, j.PromptTokens)
		j.Produced = min(1, j.OutputTokens)
	}
	if j.Produced < j.OutputTokens {
		j.progress()
		return false
	}
	return true
}

func (s *Scheduler) finish(j *Job, at time.Duration) {
	j.Finished, j.Done = at, true
	j.progress()
}

func (s *Scheduler) blocksFor(tokens int) int {
	return (tokens + s.cfg.BlockTokens - 1) / s.cfg.BlockTokens
}

func (j *Job) progress() {
	if j.OnProgress != nil {
		j.OnProgress(j)
	}
}

// remove returns jobs without j, in the same order.
func remove(jobs []*Job, j *Job) []*Job {
	kept := jobs[:0]
	for _, other := range jobs {
		if other != j {
			kept = append(kept, other)
		}
	}
	clear(jobs[len(kept):])
	return kept
}
