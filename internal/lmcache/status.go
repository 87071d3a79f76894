// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/backoff"
)

const (
	// statusTTL is the time for which a node's status is remembered. A failure to get
	// it is remembered as long, and twice as long after each further one, up to
	// maxStatusPause: a port that cannot be reached from here then costs little.
	statusTTL      = 30 * time.Second
	maxStatusPause = 16 * time.Minute
	// statusTimeout bounds the wait for a status. It is short because there are
	// defaults.
	statusTimeout = time.Second
	// maxStatuses bounds the nodes whose status is remembered.
	maxStatuses = 1024
)

// statusPaths are the paths of a node's status, the newer one first.
var statusPaths = []string{"/status", "/api/status"}

// statuses remembers the status of nodes: each model's name and number of ranks, and
// the chunk size.
type statuses struct {
	transport http.RoundTripper
	now       func() time.Time

	mu    sync.Mutex
	known map[string]*knownStatus // by base URL
}

// knownStatus is a node's last status. It is empty after a failure.
type knownStatus struct {
	nodeStatus
	read     time.Time
	failures int // in a row
}

func (k *knownStatus) fresh(now time.Time) bool {
	return now.Sub(k.read) < backoff.Pause(k.failures, statusTTL, maxStatusPause)
}

func newStatuses(t http.RoundTripper, now func() time.Time) *statuses {
	return &statuses{transport: t, now: now, known: make(map[string]*knownStatus)}
}

// get returns the status of the node at base. It is empty if the node does not answer.
func (s *statuses) get(ctx context.Context, base *url.URL) nodeStatus {
	key, now := base.String(), s.now()
	s.mu.Lock()
	known := s.known[key]
	s.mu.Unlock()
	if known != nil && known.fresh(now) {
		return known.nodeStatus
	}
	failures := 1
	if known != nil {
		failures += known.failures
	}
	status, ok := s.fetch(ctx, base)
	if ok {
		failures = 0
	}
	known = &knownStatus{status, now, failures}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxStatuses {
		clear(s.known) // nodes that came and went
	}
	s.known[key] = known
	return known.nodeStatus
}

// chunkTokens returns the chunk size of the node at base.
func (s *statuses) chunkTokens(ctx context.Context, base *url.URL) (int, error) {
	if status := s.get(ctx, base); status.chunkTokens > 0 {
		return status.chunkTokens, nil
	}
	return 0, ErrUnreachable
}

// expire has the status of the node at base read again when it is next needed. A node
// that does not report its status is not asked more often for that.
func (s *statuses) expire(base *url.URL) {
	key := base.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.known[key]; known != nil && known.failures == 0 {
		delete(s.known, key)
	}
}

// fetch asks a node for its status, at the paths of newer and then of older versions.
func (s *statuses) fetch(ctx context.Context, base *url.URL) (status nodeStatus, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	for _, path := range statusPaths {
		err := do(ctx, s.transport, request{method: http.MethodGet, base: base, path: path}, func(r io.Reader) (err error) {
			status, err = readStatus(r)
			return err
		})
		if err == nil {
			return status, true
		}
		if err != ErrNotFound {
			break
		}
	}
	return nodeStatus{}, false
}
