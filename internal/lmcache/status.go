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
	// statusFor is how long a node's status is believed. A failure to get it is
	// too, twice as long after each further one, up to statusMost: a port that
	// cannot be reached from here costs little then.
	statusTTL      = 30 * time.Second
	maxStatusPause = 16 * time.Minute
	// statusTimeout is how long a node may take to tell its status. What it
	// tells is worth no more waiting: without it the defaults are used.
	statusTimeout = time.Second
	// maxStatuses is of how many nodes the status is remembered.
	maxStatuses = 1024
)

// statusPaths are where a node tells its status: the newer place first.
var statusPaths = []string{"/status", "/api/status"}

// statuses is what nodes have told about themselves: over how many ranks an
// engine has split its model, under which name LMCache keeps it, and how large
// chunks are.
type statuses struct {
	transport http.RoundTripper
	now       func() time.Time

	mu    sync.Mutex
	known map[string]*knownStatus // by base URL
}

// knownStatus is what was last heard of a node's status.
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

// of returns what the node at base has told about itself, or the defaults.
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

// ask asks a node for its status, where newer and then where older versions
// tell it.
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
