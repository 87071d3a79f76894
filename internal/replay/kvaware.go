// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strconv"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// Knowledge sets what the gateway knows of the engines, beside the arrivals,
// first tokens and ends of answers that it observes itself.
type Knowledge struct {
	// Capacity is the KV capacity that the gateway assumes, relative to the true
	// one: 1 as engines report it, 0.5 or 2 for a bad guess, 0 for unknown.
	Capacity float64
	// Usage has engines report how many prompt tokens were cached.
	Usage bool
	// Metrics has engines report every two seconds how many requests run and
	// wait, and how much of the KV cache is in use.
	Metrics bool
	// MemoryLimit bounds the gateway's radix tree, in bytes.
	MemoryLimit int64
}

// DefaultKnowledge describes a gateway with default settings. It reads the
// engines' metrics, and they report cached tokens.
func DefaultKnowledge() Knowledge {
	return Knowledge{Capacity: 1, Usage: true, Metrics: true, MemoryLimit: 20_000_000}
}

// kvAware drives the product's own routing.
type kvAware struct {
	router         *routing.Router
	knowledge      Knowledge
	engines        []*engine // for their metrics
	blockTokens    int
	candidates     []routing.Candidate
	inFlight       []int
	requests       map[*job]*routing.Request
	now, lastSweep time.Duration
	lastScrape     time.Duration
}

// startTime is the beginning of virtual time; any time would do.
var startTime = time.Unix(0, 0)

func newKVAware(w *simulation) policy {
	p := &kvAware{
		knowledge:   w.setup.KVAware,
		engines:     w.engines,
		blockTokens: w.blockTokens,
		inFlight:    w.inFlight,
		candidates:  make([]routing.Candidate, len(w.inFlight)),
		requests:    make(map[*job]*routing.Request),
	}
	p.router = routing.New(p.knowledge.MemoryLimit, func() time.Time { return startTime.Add(p.now) })
	for i := range p.candidates {
		p.candidates[i].Address = "node-" + strconv.Itoa(i)
		if known := p.knowledge.Capacity * float64(w.setup.Model.KVTokens); known > 0 {
			p.router.SetCapacity(p.candidates[i].Address, int64(max(1, known)))
		}
	}
	return p
}

func (p *kvAware) pick(j *job, now time.Duration) int {
	p.setTime(now)
	for i := range p.candidates {
		p.candidates[i].Requests = p.inFlight[i]
	}
	r := p.router.NewRequest(routing.Prompt{
		Chain:       j.Chain,
		Tokens:      j.Tokens,
		BlockTokens: p.blockTokens,
		Stream:      true,
	})
	p.requests[j] = r
	return r.Route(p.candidates, false).Pick
}

// scrapeInterval is the time between two readings of an engine's metrics.
const scrapeInterval = 2 * time.Second

// setTime sets the clock, reads metrics every scrapeInterval and sweeps the
// router once a minute.
func (p *kvAware) setTime(now time.Duration) {
	p.now = now
	if p.knowledge.Metrics && p.now-p.lastScrape >= scrapeInterval {
		p.lastScrape = p.now
		p.scrape()
	}
	for p.now-p.lastSweep >= time.Minute {
		p.lastSweep += time.Minute
		p.router.Sweep()
	}
}

func (p *kvAware) scrape() {
	for i, e := range p.engines {
		p.router.SetLoad(p.candidates[i].Address, routing.EngineLoad{
			Waiting: e.queued(),
			Running: e.started + len(e.running),
			Usage:   e.usage(),
		})
	}
}

func (p *kvAware) first(j *job, now time.Duration) {
	p.setTime(now)
	p.requests[j].Confirm()
	p.requests[j].FirstToken()
}

func (p *kvAware) done(j *job, now time.Duration) {
	p.setTime(now)
	if p.knowledge.Usage {
		p.requests[j].Reported(j.Tokens, j.cached)
	}
	p.requests[j].End()
	delete(p.requests, j)
}
