// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net/http"
	"sort"
	"sync"
	"time"
)

// Served describes one prompt that the node has worked on. Times are simulated.
type Served struct {
	Request      int64 // number of the request, from 1 in order of arrival
	API          API
	Model        string
	Rank         int // data-parallel rank of the prompt
	PromptTokens int
	CachedTokens int
	OutputTokens int
	QueueTime    time.Duration // from arrival to the start of prefill
	TTFT         time.Duration // from arrival to the first token; 0 without one
	Total        time.Duration // from arrival to the end
	Cancelled    bool          // the client went away, or a fault cut the answer
}

// Received is one request as it reached the node. GETs are not kept: probes and
// scrapes arrive at any time.
type Received struct {
	Request int64
	Method  string
	Path    string
	Header  http.Header
	Body    []byte // at most Config.MaxBody
}

// Stats holds counters since the start or the last Reset, and the current load.
type Stats struct {
	Requests     int64 // all requests but GETs, with those that failed
	Served       int64 // prompts completed
	Cancelled    int64 // prompts cancelled
	PromptTokens int64 // of prompts whose prefill has started
	CachedTokens int64 // of these, found in the prefix cache of the GPU
	OutputTokens int64 // of prompts that have ended
	Evictions    int64 // cached blocks evicted
	Running      int
	Waiting      int
	KVUsage      float64 // share of blocks that running requests hold, 0 to 1

	ExternalQueries int64 // prompt tokens looked up in the external tier
	ExternalHits    int64 // of these, found there and not computed
}

// add adds one rank's scheduler; KVUsage becomes a sum.
func (s *Stats) add(sched *Scheduler) {
	running, waiting, usage := sched.Load()
	queries, hits, evictions := sched.CacheCounts()
	s.Running += running
	s.Waiting += waiting
	s.KVUsage += usage
	s.PromptTokens += queries
	s.CachedTokens += hits
	s.Evictions += evictions
	s.ExternalQueries += sched.externalQueries
	s.ExternalHits += sched.externalHits
}

// HitRate returns cached / prompt tokens, 0 without any.
func (s Stats) HitRate() float64 {
	if s.PromptTokens == 0 {
		return 0
	}
	return float64(s.CachedTokens) / float64(s.PromptTokens)
}

// ttftBuckets are vLLM's, in seconds.
var ttftBuckets = []float64{
	0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
	20, 40, 80, 160, 640, 2560,
}

// history keeps a bounded number of requests.
type history struct {
	mu        sync.Mutex
	keep      int // number of received requests to keep
	received  []Received
	bytes     int64 // of their bodies
	served    []Served
	requests  int64
	done      int64
	cancelled int64
	output    int64
	ranks     []rankCounts
}

// rankCounts holds one rank's counters for its metrics.
type rankCounts struct {
	prompt, output int64   // tokens
	ttft           []int64 // one per bucket and one for the rest; nil: none yet
	ttftSum        time.Duration
}

func (t *rankCounts) add(s Served) {
	t.output += int64(s.OutputTokens)
	t.prompt += int64(s.PromptTokens)
	if s.TTFT <= 0 {
		return
	}
	if t.ttft == nil {
		t.ttft = make([]int64, len(ttftBuckets)+1)
	}
	t.ttft[sort.SearchFloat64s(ttftBuckets, s.TTFT.Seconds())]++
	t.ttftSum += s.TTFT
}

// rankCounts returns a copy of a rank's counters.
func (h *history) rankCounts(rank int) rankCounts {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.ranks[rank]
	t.ttft = append([]int64(nil), t.ttft...)
	return t
}

func (h *history) receive(r Received) {
	if r.Method == http.MethodGet {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests++
	if h.keep == 0 {
		return
	}
	h.received = append(h.received, r)
	h.bytes += int64(len(r.Body))
	for len(h.received) > h.keep || h.bytes > recordBytes && len(h.received) > 1 {
		h.bytes -= int64(len(h.received[0].Body))
		h.received[0] = Received{}
		h.received = h.received[1:]
	}
}

func (h *history) finish(s Served) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.Cancelled {
		h.cancelled++
	} else {
		h.done++
	}
	h.output += int64(s.OutputTokens)
	h.ranks[s.Rank].add(s)
	h.served = append(h.served, s)
	if len(h.served) > historyEntries {
		h.served = h.served[1:]
	}
}

func (h *history) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.received, h.bytes, h.served = nil, 0, nil
	h.requests, h.done, h.cancelled, h.output = 0, 0, 0, 0
	clear(h.ranks)
}

// Stats returns the node's counters and load.
func (e *Engine) Stats() Stats {
	var s Stats
	e.mu.Lock()
	for _, r := range e.ranks {
		s.add(r.sched)
	}
	e.mu.Unlock()
	s.KVUsage /= float64(len(e.ranks))
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	s.Requests, s.Served, s.Cancelled, s.OutputTokens = e.log.requests, e.log.done, e.log.cancelled, e.log.output
	return s
}

// Served returns the latest prompts, at most 16384, oldest first.
func (e *Engine) Served() []Served {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return append([]Served(nil), e.log.served...)
}

// Received returns the latest Config.Record requests, oldest first.
func (e *Engine) Received() []Received {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	return append([]Received(nil), e.log.received...)
}
