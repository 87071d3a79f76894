// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"slices"
	"sync"
)

// loadedAdapters are the adapters (LoRA) that a node has gained at run time, as with
// vLLM's /v1/load_lora_adapter.
type loadedAdapters struct {
	mu    sync.Mutex
	names []string
}

func (l *loadedAdapters) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.names)
}

// LoadAdapter makes a node with Config.Models serve one more name.
func (e *Engine) LoadAdapter(name string) {
	l := e.cfg.loaded
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, name)
}

// UnloadAdapter takes back LoadAdapter.
func (e *Engine) UnloadAdapter(name string) {
	l := e.cfg.loaded
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = slices.DeleteFunc(l.names, func(n string) bool { return n == name })
}
