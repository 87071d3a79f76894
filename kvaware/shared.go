// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"bytes"
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/outlier"
	"github.com/bauxite/caddy-kvaware/internal/responses"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/staging"
	"github.com/bauxite/caddy-kvaware/internal/upstreams"
)

// shared is the state that all configs of the process have in common: the
// router with its tree, and the key of its hashes. It survives reloads, and it
// stays usable after the last config is gone, because answers may outlive it.
type shared struct {
	router    *routing.Router
	upstreams *upstreams.Monitor
	events    *following.Subscriptions
	tokens    *following.TokenLinker
	stagings  *staging.Totals
	outliers  *outlier.Detector
	responses *responses.Holders
	metrics   *policyMetrics
	now       func() time.Time
	random    []byte // the hash key of configs that name none
	signing   atomic.Pointer[signingKey]

	mu       sync.Mutex
	settings []*settings // of the running configs, the newest last
	policies map[*Policy]struct{}

	cacheReports upstreams.CacheReports
}

// signingKey keys the prefix hashes. A signature made in another epoch of the
// router means nothing any more.
type signingKey struct {
	key   []byte
	epoch uint64
}

// settings are the options of one config that act on the whole process.
type settings struct {
	memoryLimit  int64
	key          []byte // nil: the process's random one
	volatileOnly string
}

// sharedPool holds the process's one shared state while any config uses it.
var sharedPool = caddy.NewUsagePool()

const sharedKey = "kv_aware"

// acquireShared returns the process's shared state; each call needs one
// releaseShared.
func acquireShared(memoryLimit int64) (*shared, error) {
	value, _, err := sharedPool.LoadOrNew(sharedKey, func() (caddy.Destructor, error) {
		return newShared(memoryLimit, time.Now), nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*shared), nil
}

func releaseShared() error {
	_, err := sharedPool.Delete(sharedKey)
	return err
}

// runningShared returns the process's shared state, or nil when no config uses it.
func runningShared() (s *shared) {
	sharedPool.Range(func(_, value any) bool {
		s, _ = value.(*shared)
		return false
	})
	return s
}

func newShared(memoryLimit int64, now func() time.Time) *shared {
	router := routing.New(memoryLimit, now)
	tokens := following.NewTokenLinker(router, logNoTokens)
	restarted := func(upstream string) {
		tokens.Restarted(upstream)
		logRestart(upstream)
	}
	s := &shared{
		router:    router,
		upstreams: upstreams.NewMonitor(router, upstreams.Options{Now: now, OnRestart: restarted}),
		events:    following.NewSubscriptions(router),
		tokens:    tokens,
		stagings:  staging.NewTotals(),
		responses: responses.NewHolders(responses.Limit),
		now:       now,
		random:    make([]byte, 32),
		policies:  make(map[*Policy]struct{}),
	}
	rand.Read(s.random) // never fails: crypto/rand ends the process instead
	s.signing.Store(&signingKey{key: s.random})
	s.metrics = newPolicyMetrics(s)
	s.outliers = outlier.New(now, &failureObserver{s.metrics})
	return s
}

// logNoTokens names the cure: vLLM has /tokenize by default, which takes chats and
// completions; it renders requests of all APIs only when told so.
func logNoTokens(upstream, api string) {
	caddy.Log().Named("kv_aware").Info("the engine has no endpoint for the tokens of these requests: its events and LMCache cannot be used for them (vLLM: --enable-scale-out)",
		zap.String("upstream", upstream), zap.String("api", api))
}

func logRestart(upstream string) {
	caddy.Log().Named("kv_aware").Info("the engine was restarted: its blocks are forgotten", zap.String("upstream", upstream))
}

// Destruct is called when the last config is gone: no engine is asked any more.
// Requests still in flight may still report.
func (s *shared) Destruct() error {
	s.upstreams.Close()
	s.events.Close()
	s.tokens.Close()
	return nil
}

// join enters a policy of a config; leave takes it out again.
func (s *shared) join(p *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies[p] = struct{}{}
}

func (s *shared) leave(p *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.policies, p)
	s.events.Leave(p.eventsSubscriber)
	s.upstreams.Leave(p.upstreamsSubscriber)
}

// joined returns the policies of all running configs.
func (s *shared) joined() []*Policy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.policies))
}

// apply puts a config's settings in force. It is called when the config
// starts, not when it is provisioned: that may be a dry run, or be rolled
// back. It reports whether the tree was emptied because the key changed.
func (s *shared) apply(c *settings) (emptied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = append(s.settings, c)
	return s.enforce()
}

// withdraw takes settings back when their config stops. On a reload the new
// config has started by then and stays in force; when a new config fails to
// start, the one that goes on running is in force again.
func (s *shared) withdraw(c *settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.settings, c); i >= 0 {
		s.settings = slices.Delete(s.settings, i, i+1)
		s.enforce()
	}
}

// enforce makes the newest settings true. The caller holds mu.
func (s *shared) enforce() (emptied bool) {
	if len(s.settings) == 0 {
		return false // requests of the last config may still finish
	}
	c := s.settings[len(s.settings)-1]
	s.router.SetLimit(c.memoryLimit)
	key := c.key
	if key == nil {
		key = s.random
	}
	if bytes.Equal(s.signing.Load().key, key) {
		return false
	}
	s.signing.Store(&signingKey{key: key, epoch: s.router.Clear()})
	s.responses.Clear() // their hashes are made with the key
	return true
}

// forgetAll drops the records and failures of all upstreams.
func (s *shared) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signing.Store(&signingKey{key: s.signing.Load().key, epoch: s.router.Clear()})
	s.responses.Clear()
	for _, u := range s.router.Upstreams() {
		s.events.Forget(u.Address)
		s.outliers.Forget(u.Address)
	}
}

// forget drops the records and failures of one upstream. It reports whether there
// is such an upstream.
func (s *shared) forget(address string) bool {
	s.events.Forget(address)
	s.outliers.Forget(address)
	s.responses.Forget(address)
	return s.router.Forget(address)
}

// sweep drops the state of upstreams that have gone.
func (s *shared) sweep(now time.Time) {
	s.router.Index().Expire(now)
	s.events.Sweep(now)
	s.outliers.Sweep()
	for _, address := range s.router.Sweep() {
		s.metrics.forget(address)
		s.upstreams.Forget(address)
		s.responses.Forget(address)
		s.tokens.Forget(address)
		s.cacheReports.Forget(address)
	}
}

// Interface guards
var _ caddy.Destructor = (*shared)(nil)
