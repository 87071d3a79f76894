// SPDX-License-Identifier: Apache-2.0

// Package upstreams connects the engines' own metrics and the configured
// capacities to the router: load, capacity, models and restarts of each
// upstream.
package upstreams

import (
	"hash/maphash"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
	"github.com/bauxite/caddy-kvaware/internal/engine/metrics"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// Subscriber is one policy's interest in upstreams. A Monitor tells policies
// apart by it.
type Subscriber struct {
	// Capacity is the configured KV capacity of each upstream, in tokens. 0: it
	// is not configured.
	Capacity int64
	// MetricsPath is the path of the engines' metrics. "": they are not read.
	MetricsPath string

	left atomic.Bool // its config is gone
}

// Monitor reads the engines' reports and passes them to the router. There is
// one for all configs of the process. It is safe for concurrent use.
type Monitor struct {
	router    *routing.Router
	watcher   *metrics.Watcher
	now       func() time.Time
	onRestart func(address string)
	lacking   lacking
	lineages  *lineageTable

	mu         sync.Mutex
	configured capacities
}

// ModelTable holds the lists of models by upstream.
type ModelTable = metrics.ModelTable

// Options are the parts of a Monitor.
type Options struct {
	Now       func() time.Time
	Transport http.RoundTripper    // asks the engines; nil: the usual one
	OnRestart func(address string) // called after the records of a restarted engine were dropped
}

// NewMonitor returns a Monitor that watches no engine yet.
func NewMonitor(router *routing.Router, o Options) *Monitor {
	m := &Monitor{router: router, now: o.Now, onRestart: o.OnRestart, configured: make(capacities), lacking: lacking{seed: maphash.MakeSeed()}, lineages: newLineageTable()}
	m.watcher = metrics.NewWatcher(metrics.Options{Transport: o.Transport, Observer: m, Now: o.Now})
	return m
}

// Refresh tells the monitor which upstreams, by dial address, a subscriber may
// send requests to now. Engines that no subscriber refreshes are not asked any
// more after a minute. It does not block.
func (m *Monitor) Refresh(s *Subscriber, addresses []string) {
	targets := make([]metrics.Target, 0, len(addresses))
	for _, address := range addresses {
		m.setCapacity(address, s)
		if s.MetricsPath != "" && endpoint.IsHostPort(address) {
			targets = append(targets, metrics.Target{Address: address, Path: s.MetricsPath})
		}
	}
	m.watcher.Watch(targets...)
}

// Leave takes back the capacities of a subscriber whose config is gone.
func (m *Monitor) Leave(s *Subscriber) {
	s.left.Store(true)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, address := range m.configured.by(s) {
		m.configure(address, s, 0)
	}
}

// Forget drops the state of an upstream that has gone.
func (m *Monitor) Forget(address string) {
	m.watcher.Forget(address)
	m.lacking.forget(address)
	m.lineages.set(address, nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.configured, address)
}

// Close ends all watching. Requests in flight may still report.
func (m *Monitor) Close() { m.watcher.Close() }

// Suspect has an upstream's metrics read soon: an attempt there has failed.
func (m *Monitor) Suspect(address string) { m.watcher.Suspect(address) }

// Answered notes that an upstream answers, so it is not down.
func (m *Monitor) Answered(address string) { m.watcher.Answered(address) }

// Models returns the lists of models by upstream.
func (m *Monitor) Models() *ModelTable { return m.watcher.Models() }

// Lineages returns what the names of models stand for at each upstream.
func (m *Monitor) Lineages() *Lineages { return m.lineages.current.Load() }

// Lacks notes that an upstream has answered that it lacks a model at an API. It
// is left out for that for some seconds, or until its list of models, which is
// read soon, says otherwise.
func (m *Monitor) Lacks(address, api, model string) {
	m.lacking.note(address, api, model, m.now())
	m.watcher.Relist(address)
}

// Lacking returns the upstreams that are taken to lack a model at an API, by
// their own answers and not by their lists.
func (m *Monitor) Lacking(api, model string) []string { return m.lacking.by(api, model, m.now()) }

// Relist has the models of upstreams read soon: a request names one that none of
// them lists.
func (m *Monitor) Relist(addresses ...string) { m.watcher.Relist(addresses...) }

// setCapacity notes the capacity that a subscriber has configured.
func (m *Monitor) setCapacity(address string, s *Subscriber) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.left.Load() {
		return // a request of a config that was replaced
	}
	m.configure(address, s, s.Capacity)
}

// configure sets a subscriber's capacity for an upstream and tells the router
// the new one that counts. The caller holds mu.
func (m *Monitor) configure(address string, s *Subscriber, tokens int64) {
	before := m.configured.of(address)
	m.configured.set(address, s, tokens)
	now := m.configured.of(address)
	if now == before {
		return
	}
	if now == 0 {
		now = m.reportedCapacity(address) // the engine's own figure counts again
	}
	m.router.SetCapacity(address, now)
}

// reportedCapacity returns the capacity in an engine's last metrics, 0 without.
func (m *Monitor) reportedCapacity(address string) int64 {
	if states := m.watcher.States(address); len(states) > 0 {
		return states[0].Reading.Capacity
	}
	return 0
}

// Reported implements metrics.Observer.
func (m *Monitor) Reported(t metrics.Target, r metrics.Reading) {
	if r.HasLoad {
		m.router.SetLoad(t.Address, routing.EngineLoad{Running: r.Running, Waiting: r.Waiting, Usage: max(0, r.Usage)})
	}
	if r.Prompts.External > 0 {
		m.router.SetExternalCache(t.Address)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.configured.of(t.Address) == 0 && r.Capacity > 0 {
		m.router.SetCapacity(t.Address, r.Capacity)
	}
}

// LoadExpired implements metrics.Observer.
func (m *Monitor) LoadExpired(t metrics.Target) {
	m.router.SetLoad(t.Address, routing.EngineLoad{})
}

// Restarted implements metrics.Observer: the engine holds none of the recorded
// blocks.
func (m *Monitor) Restarted(t metrics.Target) {
	m.endEpochs(t.Address)
	m.lacking.forget(t.Address) // it may serve other models now
	if m.router.CacheLost(t.Address) && m.onRestart != nil {
		m.onRestart(t.Address)
	}
}

// CacheCleared implements metrics.Observer: the engine holds no block any more.
func (m *Monitor) CacheCleared(t metrics.Target) { m.router.CacheCleared(t.Address) }

// ModelsRead implements metrics.Observer.
func (m *Monitor) ModelsRead(t metrics.Target, list metrics.Models, asked time.Time) {
	m.lacking.listed(t.Address, list, asked)
	if len(list) > 0 {
		m.lineages.set(t.Address, list)
	}
}

// ModelsChanged implements metrics.Observer: the same names may stand for other
// tokens. Those that the engine has read from the same place as before, and those
// that are only further names of a model, do not.
func (m *Monitor) ModelsChanged(t metrics.Target, before, now metrics.Models) {
	for _, model := range now {
		if model.Lineage != model.Name {
			continue
		}
		if old := before.Find(model.Name); old == nil || model.Root == "" || old.Root != model.Root || old.Parent != model.Parent {
			m.router.Index().EndEpoch(model.Name)
		}
	}
}

// endEpochs ends the epochs of the models that an engine lists.
func (m *Monitor) endEpochs(address string) {
	for _, model := range m.Lineages().Listed(address) {
		if model.Lineage == model.Name {
			m.router.Index().EndEpoch(model.Name)
		}
	}
}

// Interface guards
var _ metrics.Observer = (*Monitor)(nil)
