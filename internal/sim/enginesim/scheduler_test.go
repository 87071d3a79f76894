// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"math/rand/v2"
	"testing"
	"time"
)

const ms = time.Millisecond

// newScheduler has round numbers: a prefill token takes 1 ms, a chunk is 100
// tokens, a lone decode step takes 10 ms.
func newScheduler(t *testing.T, change func(*Config)) *Scheduler {
	t.Helper()
	cfg := Config{BlockTokens: 10, CacheBlocks: 1000, PrefillRate: 1000, ChunkTokens: 100, MaxBatch: 10, DecodeRate: 100, DecodeSlowdown: -1}
	if change != nil {
		change(&cfg)
	}
	s, err := NewScheduler(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// job has a prompt whose blocks are named by first, first+1, ...
func job(prompt, output int, first uint64) *Job {
	j := &Job{PromptTokens: prompt, OutputTokens: output}
	for i := range uint64((prompt + output) / 10) {
		j.Chain = append(j.Chain, first+i)
	}
	return j
}

func drain(t *testing.T, s *Scheduler) {
	t.Helper()
	s.Advance(24 * time.Hour)
	if at, ok := s.Next(); ok {
		t.Fatalf("still busy at %v", at)
	}
	if running, waiting, usage := s.Load(); running != 0 || waiting != 0 || usage != 0 {
		t.Fatalf("idle with %d running, %d waiting, %v of the blocks used", running, waiting, usage)
	}
	if _, err := validate(s.cache); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got != want {
		t.Errorf("%s %v, want %v", what, got, want)
	}
}

func TestOneRequest(t *testing.T) {
	s := newScheduler(t, nil)
	j := job(250, 5, 1000)
	s.Submit(j, 7*ms)
	drain(t, s)
	expect(t, "scheduled", j.Scheduled, 7*ms)
	expect(t, "first token", j.FirstToken, 257*ms)
	expect(t, "finished", j.Finished, 297*ms)
	if j.Cached != 0 || j.Produced != 5 || !j.Done || j.Cancelled {
		t.Errorf("job %+v", j)
	}
}

// TestTwoPromptsAtOnce checks that prefill is one resource: the second prompt's first
// token comes after both prompts and the first one's decode steps meanwhile.
func TestTwoPromptsAtOnce(t *testing.T) {
	s := newScheduler(t, nil)
	a, b := job(250, 3, 1000), job(250, 1, 2000)
	s.Submit(a, 0)
	s.Submit(b, 0)
	drain(t, s)
	// Three steps of 100 tokens; in the third, b gets what a leaves.
	expect(t, "a's first token", a.FirstToken, 300*ms)
	expect(t, "b scheduled", b.Scheduled, 200*ms)
	// b's other 200 tokens take two steps, in each of which a decodes (10 ms).
	expect(t, "a finished", a.Finished, 300*ms+2*110*ms)
	expect(t, "b's first token", b.FirstToken, 520*ms)
}

func TestLatecomerWaitsForTheStepUnderWay(t *testing.T) {
	s := newScheduler(t, nil)
	a, b := job(150, 1, 1000), job(20, 1, 2000)
	s.Submit(a, 0)
	s.Advance(30 * ms)
	s.Submit(b, 30*ms)
	drain(t, s)
	expect(t, "b scheduled", b.Scheduled, 100*ms)
	// The second step has a's last 50 tokens and b's 20.
	expect(t, "a's first token", a.FirstToken, 170*ms)
	expect(t, "b's first token", b.FirstToken, 170*ms)
}

// TestBeingLateChangesNothing checks that a driver that wakes up late gets the same times.
func TestBeingLateChangesNothing(t *testing.T) {
	run := func(step time.Duration) [2]*Job {
		s := newScheduler(t, nil)
		a, b := job(333, 20, 1000), job(222, 20, 2000)
		s.Submit(a, 5*ms)
		s.Advance(41 * ms)
		s.Submit(b, 41*ms)
		for at := 41 * ms; ; at += step {
			s.Advance(at)
			if _, busy := s.Next(); !busy {
				return [2]*Job{a, b}
			}
		}
	}
	fine, coarse := run(ms), run(999*ms)
	for i := range fine {
		if fine[i].FirstToken != coarse[i].FirstToken || fine[i].Finished != coarse[i].Finished {
			t.Errorf("job %d: %v %v on time, %v %v late", i, fine[i].FirstToken, fine[i].Finished, coarse[i].FirstToken, coarse[i].Finished)
		}
	}
}

func TestCachedPrefixIsNotComputedAgain(t *testing.T) {
	s := newScheduler(t, nil)
	first := job(200, 1, 1000)
	s.Submit(first, 0)
	drain(t, s)

	// The same prompt computes its last block again; the others are cached.
	again := job(200, 1, 1000)
	s.Submit(again, time.Second)
	drain(t, s)
	if again.Cached != 190 {
		t.Errorf("cached %d, want 190", again.Cached)
	}
	expect(t, "first token", again.FirstToken, time.Second+10*ms)

	// One more token makes the last block of the prompt reusable as well.
	longer := job(201, 1, 1000)
	s.Submit(longer, 2*time.Second)
	drain(t, s)
	if longer.Cached != 200 {
		t.Errorf("cached %d, want 200", longer.Cached)
	}
	expect(t, "first token", longer.FirstToken, 2*time.Second+ms)
	if queries, hits, _ := s.CacheCounts(); queries != 601 || hits != 390 {
		t.Errorf("queries %d, hits %d", queries, hits)
	}
}

// TestGeneratedTokensAreCached checks that the next turn finds the answer in the
// cache, except for its last token, which was never fed back and has no KV.
func TestGeneratedTokensAreCached(t *testing.T) {
	s := newScheduler(t, nil)
	turn := job(95, 26, 1000) // 121 tokens; KV of 120: 12 full blocks
	s.Submit(turn, 0)
	drain(t, s)
	next := job(200, 1, 1000)
	s.Submit(next, time.Second)
	drain(t, s)
	if next.Cached != 120 {
		t.Errorf("cached %d, want 120", next.Cached)
	}

	s = newScheduler(t, nil)
	turn = job(95, 25, 1000) // 120 tokens; KV of 119
	s.Submit(turn, 0)
	drain(t, s)
	next = job(200, 1, 1000)
	s.Submit(next, time.Second)
	drain(t, s)
	if next.Cached != 110 {
		t.Errorf("cached %d, want 110", next.Cached)
	}
}

func TestBatchLimit(t *testing.T) {
	s := newScheduler(t, func(c *Config) { c.MaxBatch = 1 })
	a, b := job(50, 11, 1000), job(50, 1, 2000)
	s.Submit(a, 0)
	s.Submit(b, 0)
	s.Advance(100 * ms)
	if running, waiting, _ := s.Load(); running != 1 || waiting != 1 {
		t.Errorf("%d running, %d waiting", running, waiting)
	}
	drain(t, s)
	expect(t, "b scheduled", b.Scheduled, 150*ms) // 50 of prefill, 10 decode steps
	expect(t, "b's first token", b.FirstToken, 200*ms)
}

// TestNoBlocksNoStart checks that a job that does not fit waits, and that none overtakes it.
func TestNoBlocksNoStart(t *testing.T) {
	s := newScheduler(t, func(c *Config) { c.CacheBlocks = 20 })
	a, b, c := job(90, 10, 1000), job(100, 10, 2000), job(10, 1, 3000)
	for _, j := range []*Job{a, b, c} {
		s.Submit(j, 0)
	}
	s.Advance(90 * ms)
	if _, _, usage := s.Load(); usage != 0.5 {
		t.Errorf("usage %v, want 0.5", usage)
	}
	drain(t, s)
	expect(t, "a finished", a.Finished, 180*ms)
	expect(t, "b scheduled", b.Scheduled, 180*ms)
	expect(t, "c scheduled", c.Scheduled, b.FirstToken)
	if _, _, evictions := s.CacheCounts(); evictions == 0 {
		t.Error("nothing was evicted")
	}
}

func TestDecodeSlowdown(t *testing.T) {
	s := newScheduler(t, func(c *Config) { c.DecodeSlowdown = 0.5 })
	a, b := job(50, 3, 1000), job(50, 3, 2000)
	s.Submit(a, 0)
	s.Submit(b, 0)
	drain(t, s)
	expect(t, "finished", b.Finished, 100*ms+2*15*ms)
}

func TestCancel(t *testing.T) {
	s := newScheduler(t, func(c *Config) { c.MaxBatch = 1 })
	a, b, c := job(300, 5, 1000), job(50, 1, 2000), job(301, 1, 1000)
	for _, j := range []*Job{a, b, c} {
		s.Submit(j, 0)
	}
	s.Advance(150 * ms)
	s.Cancel(b, 150*ms)
	s.Cancel(a, 150*ms)
	if !a.Cancelled || !a.Done || a.Finished != 150*ms || !b.Cancelled {
		t.Errorf("cancelled: %+v %+v", a, b)
	}
	drain(t, s)
	// Two steps of a had started: its first 200 tokens are cached.
	if c.Cached != 200 {
		t.Errorf("cached %d, want 200", c.Cached)
	}
	expect(t, "c scheduled", c.Scheduled, 200*ms)
	s.Cancel(c, time.Hour)
	if c.Cancelled || c.Finished == time.Hour {
		t.Error("a finished job was cancelled")
	}
}

func TestNoOutput(t *testing.T) {
	s := newScheduler(t, nil)
	j := &Job{PromptTokens: 42}
	s.Submit(j, 0)
	drain(t, s)
	expect(t, "finished", j.Finished, 42*ms)
	if j.Produced != 0 || !j.Done {
		t.Errorf("job %+v", j)
	}
}

func TestImpossibleJobPanics(t *testing.T) {
	for _, j := range []*Job{{PromptTokens: 0}, {PromptTokens: 1, OutputTokens: -1}, {PromptTokens: 10001}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("job %+v was queued", j)
				}
			}()
			newScheduler(t, nil).Submit(j, 0)
		}()
	}
}

// TestRandomLoad checks that under any load every job is served once, in order of
// arrival, and that no time passes without work.
func TestRandomLoad(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := newScheduler(t, func(c *Config) { c.CacheBlocks, c.MaxBatch = 60, 4 })
		var jobs []*Job
		at := time.Duration(0)
		for range 200 {
			at += time.Duration(rng.Int64N(int64(200 * ms)))
			s.Advance(at)
			j := job(1+rng.IntN(400), rng.IntN(40), 1000*rng.Uint64N(5))
			calls := 0
			j.OnProgress = func(j *Job) {
				if calls++; j.Done && j.Produced != j.OutputTokens && !j.Cancelled {
					t.Errorf("done with %d of %d tokens", j.Produced, j.OutputTokens)
				}
			}
			s.Submit(j, at)
			jobs = append(jobs, j)
			if rng.IntN(10) == 0 {
				s.Cancel(jobs[rng.IntN(len(jobs))], at)
			}
			if _, err := validate(s.cache); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		drain(t, s)
		last := time.Duration(0)
		for i, j := range jobs {
			if !j.Done {
				t.Fatalf("seed %d: job %d was never done", seed, i)
			}
			if j.Cancelled {
				continue
			}
			if j.Scheduled < last || j.Scheduled < j.Arrival || j.FirstToken <= j.Scheduled || j.Finished < j.FirstToken {
				t.Fatalf("seed %d: job %d out of order: %+v", seed, i, j)
			}
			if j.Cached >= j.PromptTokens {
				t.Fatalf("seed %d: job %d computed nothing", seed, i)
			}
			last = j.Scheduled
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{
		{BlockTokens: -1}, {CacheBlocks: maxBlocks + 1}, {PrefillRate: -1}, {DecodeRate: 1e300}, {Speed: -2},
		{MaxModelLen: 1 << 20}, {ChunkSizes: []int{4, 0}}, {MaxBody: -1}, {Record: -1}, {MaxBatch: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v makes an engine", cfg)
		}
	}
}
