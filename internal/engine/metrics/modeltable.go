// SPDX-License-Identifier: Apache-2.0

package metrics

// ModelTable holds the models of each engine, as far as they are known. It is
// immutable.
type ModelTable struct {
	lists   map[string]Models // by address, without unknown lists
	differs bool              // some list differs from the others, or is unknown
}

// newModelTable makes a table of the lists by address. An empty list is unknown.
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
		t.differs = t.differs || !first.sameNames(list)
	}
	return t
}

// Differ reports whether some engines may serve other models than the rest. When
// it is false, no engine needs to be filtered by model.
func (t *ModelTable) Differ() bool { return t.differs && len(t.lists) > 0 }

// Has reports whether the engine at an address lists a model, and whether its
// list is known at all.
func (t *ModelTable) Has(address, model string) (has, known bool) {
	list, known := t.lists[address]
	return known && list.Has(model), known
}

// updateModels builds a new table after a list has changed.
func (w *Watcher) updateModels() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.makeTable()
}

// makeTable builds the table of the engines' lists. The caller holds mu.
func (w *Watcher) makeTable() {
	all := make(map[string]Models, len(w.engines))
	for t, e := range w.engines {
		if list := e.snapshot().Models; len(list) > 0 || all[t.Address] == nil {
			all[t.Address] = list
		}
	}
	w.models.Store(newModelTable(all))
}
