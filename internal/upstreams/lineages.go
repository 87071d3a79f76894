// SPDX-License-Identifier: Apache-2.0

package upstreams

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/bauxite/caddy-kvaware/internal/engine/metrics"
)

// maxListing bounds the upstreams whose lists are remembered: more than the
// watcher asks.
const maxListing = 4096

// Model is a name that an engine serves requests under, with its lineage.
type Model = metrics.Model

// Lineages says which names stand for one model, at each upstream for itself: equal
// names or roots at two engines need not mean equal models. It is immutable.
type Lineages struct {
	lists map[string]metrics.Models // by address
	kin   map[string]struct{}       // names that are an alias or an adapter at some upstream
}

// HasKin reports whether a name is an alias or an adapter at some upstream. The
// lineage of other names is the name itself, at every upstream.
func (l *Lineages) HasKin(name string) bool {
	_, ok := l.kin[name]
	return ok
}

// At returns the model that a name stands for at an upstream, and whether the engine
// is known to list it. A name that it is not known to list is a model of its own.
func (l *Lineages) At(address, name string) (m Model, listed bool) {
	if m := l.lists[address].Find(name); m != nil {
		return *m, true
	}
	return Model{Name: name, Lineage: name}, false
}

// Listed returns the models that an upstream lists, as far as that is known.
func (l *Lineages) Listed(address string) metrics.Models { return l.lists[address] }

// lineageTable makes Lineages from the upstreams' lists. An upstream's last list
// counts until it lists something else or is forgotten: an engine that is not asked
// for a while, or does not answer, keeps its KV cache.
type lineageTable struct {
	current atomic.Pointer[Lineages]

	mu       sync.Mutex
	mentions map[string]int // upstreams where a name is an alias or an adapter
}

func newLineageTable() *lineageTable {
	t := &lineageTable{mentions: make(map[string]int)}
	t.current.Store(new(Lineages))
	return t
}

// set takes in an upstream's list; without models it forgets the upstream.
func (t *lineageTable) set(address string, list metrics.Models) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.current.Load()
	old := now.lists[address]
	if slices.Equal(old, list) || old == nil && len(now.lists) >= maxListing {
		return
	}
	lists := maps.Clone(now.lists)
	if lists == nil {
		lists = make(map[string]metrics.Models)
	}
	lists[address] = list
	if len(list) == 0 {
		delete(lists, address)
	}
	names := len(t.mentions)
	added := t.mention(list, 1)
	t.mention(old, -1)
	kin := now.kin
	if added || len(t.mentions) != names {
		kin = make(map[string]struct{}, len(t.mentions))
		for name := range t.mentions {
			kin[name] = struct{}{}
		}
	}
	t.current.Store(&Lineages{lists: lists, kin: kin})
}

// mention counts the aliases and adapters of a list, and reports whether there is a
// new one. The caller holds mu.
func (t *lineageTable) mention(list metrics.Models, by int) (added bool) {
	for _, m := range list {
		if m.Lineage == m.Name && m.Parent == "" {
			continue
		}
		before := t.mentions[m.Name]
		added = added || before == 0
		if t.mentions[m.Name] = before + by; before+by == 0 {
			delete(t.mentions, m.Name)
		}
	}
	return added
}
