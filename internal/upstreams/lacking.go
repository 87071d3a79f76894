// SPDX-License-Identifier: Apache-2.0

package upstreams

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/metrics"
)

const (
	// lackingFor is the time for which an upstream is taken to lack a model that
	// it has answered 404 for, unless its list says otherwise before.
	lackingFor = 10 * time.Second

	// maxLacking bounds the upstreams and models remembered. A client that makes
	// up names pushes others out, each of which costs one more failed attempt.
	maxLacking = 1024
)

// lacking remembers which upstreams have answered that they lack a model. The
// names come from clients, so only keyed hashes of them are kept.
type lacking struct {
	seed  maphash.Seed
	count atomic.Int32 // of entries; 0: there is nothing to look up

	mu      sync.Mutex
	entries []lack // oldest first
}

// lack is one upstream that lacks a model at one API: an engine may serve a model
// and not every API.
type lack struct {
	address string
	api     string
	model   uint64
	since   time.Time
}

func (l *lacking) hash(model string) uint64 { return maphash.String(l.seed, model) }

// note takes in that an upstream lacks a model.
func (l *lacking) note(address, api, model string, now time.Time) {
	noted := lack{address, api, l.hash(model), now}
	l.change(func(old lack) bool {
		return now.Sub(old.since) >= lackingFor || old.address == address && old.api == api && old.model == noted.model
	}, noted)
}

// listed takes in an upstream's list of models: it has all of them, whatever it
// answered before it was asked for the list.
func (l *lacking) listed(address string, list metrics.Models, asked time.Time) {
	if l.count.Load() == 0 {
		return
	}
	has := make(map[uint64]bool, len(list))
	for _, model := range list {
		has[l.hash(model.Name)] = true
	}
	l.change(func(old lack) bool {
		return old.address == address && old.since.Before(asked) && has[old.model]
	})
}

// forget drops what is known of an upstream.
func (l *lacking) forget(address string) {
	l.change(func(old lack) bool { return old.address == address })
}

// change drops the entries for which gone is true, and adds others.
func (l *lacking) change(gone func(lack) bool, added ...lack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(slices.DeleteFunc(l.entries, gone), added...)
	if over := len(l.entries) - maxLacking; over > 0 {
		l.entries = slices.Delete(l.entries, 0, over)
	}
	l.count.Store(int32(len(l.entries)))
}

// by returns the upstreams that lack a model.
func (l *lacking) by(api, model string, now time.Time) (addresses []string) {
	if l.count.Load() == 0 {
		return nil
	}
	hash := l.hash(model)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.model == hash && e.api == api && now.Sub(e.since) < lackingFor {
			addresses = append(addresses, e.address)
		}
	}
	return addresses
}
