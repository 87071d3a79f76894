// SPDX-License-Identifier: Apache-2.0

package metrics

import "slices"

// ModelTable is which engine serves which models, as far as known. It never
// changes: a new one takes its place.
type ModelTable struct {
	lists   map[string]Models // by address; without those that are not known
	differs bool              // some list is not like the others, or not known
}

// newModelTable makes a table of the lists of all watched engines; one that is
// empty is not known.
func newModelTable(all map[string]Models) *ModelTable {
	t := &ModelTable{lists: make(map[string]Models, len(all))}
	var first Models
	for address, list := range all {
		if len(list) == 0 {
			t.differs = true
			continue
		}
		t.lists[address] = list
		if first == nil {
			first = list
		}
		t.differs = t.differs || !slices.Equal(first, list)
	}
	return t
}

// Differ reports whether it matters at all which engine is asked for a model.
// It is the quick way out for fleets that all serve the same.
func (t *ModelTable) Differ() bool { return t.differs && len(t.lists) > 0 }

// Has reports whether the engine at an address lists a model, and whether its
// list is known at all.
func (t *ModelTable) Has(address, model string) (has, known bool) {
	list, known := t.lists[address]
	return known && list.Has(model), known
}

// retable makes the table anew after a list has changed.
func (w *Watcher) updateModels() {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make(map[string]Models, len(w.engines))
	for t, e := range w.engines {
		if list := e.snapshot().Models; len(list) > 0 || all[t.Address] == nil {
			all[t.Address] = list
		}
	}
	w.models.Store(newModelTable(all))
}
