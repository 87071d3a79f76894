// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// maxAdapters bounds the adapters that are remembered; prompts for further ones
// match nothing.
const maxAdapters = 4096

// adapterNames holds hashes of the names of the LoRA adapters that engines have
// blocks for. They are read for each prompt and hardly ever change.
type adapterNames struct {
	known atomic.Pointer[map[uint64]struct{}]
	mu    sync.Mutex
}

// note notes that an engine has blocks for an adapter.
func (a *adapterNames) note(name []byte) {
	if len(name) == 0 {
		return
	}
	h := xxhash.Sum64(name)
	if a.has(h) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	more := make(map[uint64]struct{})
	if old := a.known.Load(); old != nil {
		if len(*old) >= maxAdapters {
			return
		}
		more = maps.Clone(*old)
	}
	more[h] = struct{}{}
	a.known.Store(&more)
}

func (a *adapterNames) has(h uint64) bool {
	known := a.known.Load()
	if known == nil {
		return false
	}
	_, ok := (*known)[h]
	return ok
}

// Adapter returns the name of the adapter that serves requests for a model: the
// model's name if some engine has blocks for an adapter of that name, else "".
// Before the first such block no engine holds any, so it does not matter.
func (x *Index) Adapter(model string) string {
	if x.adapters.has(xxhash.Sum64String(model)) {
		return model
	}
	return ""
}
