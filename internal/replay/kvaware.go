// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strconv"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// Knowledge is what the gateway is let know of the engines beside what it sees
// itself: arrivals, first tokens and the ends of answers.
type Knowledge struct {
	// Capacity is the KV capacity it takes the engines to have, over the true
	// one: 1 as engines report it, 0.5 and 2 a bad guess, 0 not known.
	Capacity float64
	// Usage: engines report how many prompt tokens were cached.
	Usage bool
	// Metrics: engines tell every two seconds how many requests run and wait, and
	// how much of the KV cache is in use.
	Metrics bool
	// MemoryLimit is the ceiling of its tree in bytes.
	MemoryLimit int64
}

// DefaultKnowledge is a gateway with its default settings in front of engines
// whose metrics it reads, and that report cached tokens.
func DefaultKnowledge() Knowledge {
	return Knowledge{Capacity: 1, Usage: true, Metrics: true, MemoryLimit: 20_000_000}
}

// kvAware drives the product's own routing.
type kvAware struct {
	fleet       *routing.Router
	know        Knowledge
	engines     []*engine // for their metrics
	blockTokens int
	targets     []routing.Candidate
	inFlight    []int
	live        map[*job]*routing.Request
	now, swept  time.Duration
	scraped     time.Duration
}

// epoch is when virtual time begins; any would do.
var epoch = time.Unix(0, 0)

func newKVAware(w *world) policy {
	p := &kvAware{
		know:        w.setup.KVAware,
		engines:     w.engines,
		blockTokens: w.blockTokens,
		inFlight:    w.inFlight,
		targets:     make([]routing.Candidate, len(w.inFlight)),
		live:        make(map[*job]*routing.Request),
	}
	p.fleet = routing.New(p.know.MemoryLimit, func() time.Time { return epoch.Add(p.now) })
	for i := range p.targets {
		p.targets[i].Address = "node-" + strconv.Itoa(i)
		if known := p.know.Capacity * float64(w.setup.Model.KVTokens); known > 0 {
			p.fleet.SetCapacity(p.targets[i].Address, int64(max(1, known)))
		}
	}
	return p
}

func (p *kvAware) pick(j *job, now time.Duration) int {
	p.at(now)
	for i := range p.targets {
		p.targets[i].Requests = p.inFlight[i]
	}
	r := p.fleet.NewRequest(routing.Prompt{
		Chain:       j.Chain,
		Tokens:      j.Tokens,
		BlockTokens: p.blockTokens,
		Stream:      true,
	})
	p.live[j] = r
	return r.Route(p.targets, false).Pick
}

// scrapeInterval is how often the gateway reads an engine's metrics.
const scrapeInterval = 2 * time.Second

// at sets the clock, reads metrics when it is time to, and sweeps once a
// minute.
func (p *kvAware) at(now time.Duration) {
	p.now = now
	if p.know.Metrics && p.now-p.scraped >= scrapeInterval {
		p.scraped = p.now
		p.scrape()
	}
	for p.now-p.swept >= time.Minute {
		p.swept += time.Minute
		p.fleet.Sweep()
	}
}

func (p *kvAware) scrape() {
	for i, e := range p.engines {
		p.fleet.SetLoad(p.targets[i].Address, routing.EngineLoad{
			Waiting: e.queued(),
			Running: e.begun + len(e.running),
			Usage:   e.usage(),
		})
	}
}

func (p *kvAware) first(j *job, now time.Duration) {
	p.at(now)
	p.live[j].Confirm()
	p.live[j].FirstToken()
}

func (p *kvAware) done(j *job, now time.Duration) {
	p.at(now)
	if p.know.Usage {
		p.live[j].Reported(j.Tokens, j.cached)
	}
	p.live[j].End()
	delete(p.live, j)
}
