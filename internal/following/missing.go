// SPDX-License-Identifier: Apache-2.0

package following

import (
	"maps"
	"sync"
)

// maxMissing bounds the endpoints that missingEndpoints remembers.
const maxMissing = 4096

type missingEndpoint struct {
	upstream, api string
}

// missingEndpoints reports once which upstreams have no endpoint for the tokens of an
// API's requests.
type missingEndpoints struct {
	report func(upstream, api string)

	mu    sync.Mutex
	known map[missingEndpoint]bool
}

// note reports an upstream, unless that has been done for the API.
func (m *missingEndpoints) note(upstream, api string) {
	if m.isNew(missingEndpoint{upstream, api}) {
		m.report(upstream, api)
	}
}

func (m *missingEndpoints) isNew(e missingEndpoint) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known[e] || len(m.known) == maxMissing {
		return false
	}
	if m.known == nil {
		m.known = make(map[missingEndpoint]bool)
	}
	m.known[e] = true
	return true
}

// forget drops what is known of an upstream.
func (m *missingEndpoints) forget(upstream string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.known, func(e missingEndpoint, _ bool) bool { return e.upstream == upstream })
}
