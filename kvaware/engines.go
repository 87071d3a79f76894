// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/engine/metrics"
	"github.com/bauxite/caddy-kvaware/internal/routing"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
)

// seeInterval is how often a policy says which upstreams it has: often enough
// for those that come and go, and nothing to each request.
const seeInterval = time.Second

// engines brings what engines tell about themselves to the fleet. Like the
// fleet it is there once for all configs of the process.
type engines struct {
	fleet *routing.Router
	watch *metrics.Watcher
	now   func() time.Time

	mu    sync.Mutex
	given capacities
}

// newEngines returns engines that nobody watches yet. A nil transport means
// the usual one.
func newEngines(f *routing.Router, now func() time.Time, transport http.RoundTripper) *engines {
	e := &engines{fleet: f, now: now, given: make(capacities)}
	e.watch = metrics.NewWatcher(metrics.Options{Transport: transport, Observer: e, Now: now})
	return e
}

// sight is when a policy last said which upstreams it has.
type sight struct {
	last       atomic.Int64  // Unix nanoseconds
	gone       atomic.Bool   // the policy's config is
	generation atomic.Uint64 // that of a newer config is higher; 0: none
}

// due reports whether it is time to say so again, to one of those who ask.
func (s *sight) due(now time.Time) bool {
	last := s.last.Load()
	return now.UnixNano()-last >= int64(seeInterval) && s.last.CompareAndSwap(last, now.UnixNano())
}

// see notes that a policy may send requests to these upstreams. It waits for
// nothing.
func (p *Policy) see(pool reverseproxy.UpstreamPool, r *http.Request) {
	e := p.shared.engines
	if !p.sight.due(e.now()) {
		return
	}
	targets := make([]metrics.Target, 0, len(pool))
	addresses := make([]string, 0, len(pool))
	for _, u := range pool {
		a := address(u, r)
		e.give(a, p)
		if !endpoint.IsHostPort(a) {
			continue
		}
		addresses = append(addresses, a)
		if p.Metrics != "off" {
			targets = append(targets, metrics.Target{Address: a, Path: p.Metrics})
		}
	}
	e.watch.Watch(targets...)
	p.shared.following.follow(p, addresses)
}

// give notes the capacity that a policy has configured for an upstream.
func (e *engines) give(address string, p *Policy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.sight.gone.Load() {
		return // a request of a config that was replaced
	}
	e.configure(address, p, p.Capacity)
}

// dismiss takes back what a policy whose config is gone has configured.
func (e *engines) dismiss(p *Policy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, address := range e.given.by(p) {
		e.configure(address, p, 0)
	}
}

// configure tells the fleet what a policy's capacity changes. The caller holds
// mu.
func (e *engines) configure(address string, p *Policy, tokens int64) {
	before := e.given.of(address)
	e.given.set(address, p, tokens)
	now := e.given.of(address)
	if now == before {
		return
	}
	if now == 0 {
		now = e.told(address) // the engine's own word counts again
	}
	e.fleet.SetCapacity(address, now)
}

// told returns the capacity in an engine's last metrics, 0 without.
func (e *engines) told(address string) int64 {
	if states := e.watch.States(address); len(states) > 0 {
		return states[0].Reading.Capacity
	}
	return 0
}

// Told is called with what an engine's metrics say.
func (e *engines) Reported(t metrics.Target, r metrics.Reading) {
	if r.HasLoad {
		e.fleet.SetLoad(t.Address, routing.EngineLoad{Running: r.Running, Waiting: r.Waiting, Usage: max(0, r.Usage)})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.given.of(t.Address) == 0 && r.Capacity > 0 {
		e.fleet.SetCapacity(t.Address, r.Capacity)
	}
}

// Silent is called when the load in an engine's last metrics counts no more.
func (e *engines) LoadExpired(t metrics.Target) {
	e.fleet.SetLoad(t.Address, routing.EngineLoad{})
}

// Restarted is called when an engine's process is a new one: it holds nothing
// of what was recorded.
func (e *engines) Restarted(t metrics.Target) {
	e.endEpochs(t.Address)
	if e.fleet.CacheLost(t.Address) {
		caddy.Log().Named("kv_aware").Info("the engine was restarted: what it held is forgotten",
			zap.String("upstream", t.Address))
	}
}

// Relisted is called when an engine serves other models than before: the same
// names may stand for other tokens.
func (e *engines) ModelsChanged(t metrics.Target) { e.endEpochs(t.Address) }

// endEpochs ends the epochs of the models that an engine lists.
func (e *engines) endEpochs(address string) {
	for _, state := range e.watch.States(address) {
		for _, model := range state.Models {
			e.fleet.Index().EndEpoch(model)
		}
	}
}

// forget drops what is kept for an upstream that has gone.
func (e *engines) forget(address string) {
	e.watch.Forget(address)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.given, address)
}

// capacitySource tells where an upstream's capacity comes from; "" when it is
// not known.
func (e *engines) capacitySource(address string, capacity int64) string {
	e.mu.Lock()
	given := e.given.of(address)
	e.mu.Unlock()
	switch capacity {
	case 0:
		return ""
	case given:
		return "config"
	case e.told(address):
		return "metrics"
	}
	return "learned"
}

// serving returns those of the upstreams that may serve the model: all but
// those that are known not to list it. When none that is available is known to
// list it, it is all of them: some engines serve any name, whatever they list,
// and of those that do not the client is to get the error.
func (p *Policy) serving(pool reverseproxy.UpstreamPool, model string, r *http.Request) reverseproxy.UpstreamPool {
	models := p.shared.engines.watch.Models()
	if model == "" || !models.Differ() {
		return pool
	}
	serving := make(reverseproxy.UpstreamPool, 0, len(pool))
	listed := false
	for _, u := range pool {
		has, known := models.Has(address(u, r), model)
		if has || !known {
			serving = append(serving, u)
		}
		listed = listed || has && p.available(u)
	}
	if !listed {
		return pool
	}
	return serving
}

// Interface guards
var _ metrics.Observer = (*engines)(nil)
