// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

const (
	// DefaultMemoryLimit is the ceiling of the prefix tree when none is
	// configured: 20 MB, in bytes.
	DefaultMemoryLimit = 20_000_000

	// MinMemoryLimit is the smallest ceiling that can be configured, in bytes.
	// With less the tree would hold next to nothing.
	MinMemoryLimit = 1_000_000

	// MinHashKey is the least length of a configured hash key, in bytes.
	MinHashKey = 16

	// sweepInterval is the time between two searches for upstreams that have gone.
	sweepInterval = time.Minute

	// followInterval is the time between two namings of static upstreams, which
	// keep their engines' events followed while no requests come.
	followInterval = 20 * time.Second
)

func init() {
	caddy.RegisterModule(App{})
}

// App holds the state that all `kv_aware` policies of the process share: a radix
// tree of prompt-prefix hashes that tells which upstream holds which prefix in
// its KV cache. The tree lives in memory only, under a fixed ceiling, and
// survives config reloads.
//
// Configuring it is optional: a `kv_aware` policy brings it with its defaults.
type App struct {
	// The ceiling of the whole tree, in bytes, process-wide. At the ceiling
	// the oldest hashes are evicted. It can be changed by a reload; the tree
	// stays. The least is 1 MB. Default: 20000000 (20 MB).
	MemoryLimit int64 `json:"memory_limit,omitempty"`

	// The key of the prefix hashes, at least 16 bytes. Give all gateways of a
	// fleet the same key, so that they agree on hashes and on keyed placeholders.
	// Placeholders such as `{env.KV_HASH_KEY}` are replaced. A reload with
	// another key empties the tree. Default: random for each process.
	Key *string `json:"hash_key,omitempty"`

	// Whether the whole process is locked out of the disk once the config has
	// started, by Landlock on Linux: nothing in it can create or write a file any
	// more, nor can its memory be dumped to one. Reading goes on. The product's
	// own code cannot write in any case; this is for all the rest.
	//
	// `require` refuses to start where the kernel cannot do it, and where the
	// config visibly needs the disk later: for Caddy's storage, certificates that
	// Caddy manages, or log files that are open. `best_effort` does what it can and
	// warns. It cannot be undone: a reload to `off` leaves the process locked.
	// Default: off.
	VolatileOnly string `json:"volatile_only,omitempty"`

	ctx      caddy.Context
	shared   *shared // nil until joined
	settings *settings
	places   map[*Policy]*placement // of the started config's policies
	stop     context.CancelFunc
	logger   *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "kv_aware",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks the options and takes a reference to the process's shared
// state.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	s, err := a.check()
	if err != nil {
		return err
	}
	a.settings = s
	if err = a.prepareLock(); err != nil {
		return err
	}
	if a.shared, err = acquireShared(s.memoryLimit); err != nil {
		return err
	}
	return a.shared.metrics.register(ctx.GetMetricsRegistry())
}

// check turns the options into settings.
func (a *App) check() (*settings, error) {
	s := &settings{
		memoryLimit:  cmp.Or(a.MemoryLimit, DefaultMemoryLimit),
		volatileOnly: cmp.Or(a.VolatileOnly, volatileOff),
	}
	if err := errors.Join(checkMemoryLimit(s.memoryLimit), checkVolatileOnly(s.volatileOnly)); err != nil {
		return nil, err
	}
	if a.Key != nil {
		key := caddy.NewReplacer().ReplaceAll(*a.Key, "")
		switch {
		case key == "":
			return nil, errors.New("hash_key is set but empty: give at least 16 bytes, or leave it out for a random one")
		case len(key) < MinHashKey:
			return nil, fmt.Errorf("hash_key takes at least %d bytes", MinHashKey)
		}
		s.key = []byte(key)
	}
	return s, nil
}

func checkMemoryLimit(bytes int64) error {
	if bytes < MinMemoryLimit {
		return fmt.Errorf("memory_limit takes a size of at least %d bytes (1MB)", MinMemoryLimit)
	}
	return nil
}

func checkVolatileOnly(value string) error {
	if !isVolatileOnly(value) {
		return errVolatileOnly
	}
	return nil
}

// Start puts the options in force.
func (a *App) Start() error {
	if err := a.admitLock(); err != nil {
		return err
	}
	places := placements(a.ctx)
	if err := checkFollowing(places); err != nil {
		return err
	}
	if err := a.shared.events.Start(subscribers(places)); err != nil {
		return err
	}
	if a.shared.apply(a.settings) {
		a.logger.Info("hash_key has changed: the prefix tree starts empty")
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.places, a.stop = places, cancel
	go a.sweepUntil(ctx)
	// Now, so that subscriptions of the config before go on without a break.
	go a.followUntil(ctx, places, a.follow(places))
	return nil
}

// subscribers returns the policies' subscribers, and tells each policy its place in
// the config.
func subscribers(places map[*Policy]*placement) (all []*following.Subscriber) {
	for p, place := range places {
		p.observed.place.Store(place)
		all = append(all, p.eventsSubscriber)
	}
	return all
}

// sweepUntil drops the state of upstreams that have gone, now and then.
func (a *App) sweepUntil(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			a.shared.sweep(now)
		}
	}
}

// followUntil names the static upstreams of a config's policies now and then, and
// when another config stops following some.
func (a *App) followUntil(ctx context.Context, places map[*Policy]*placement, freed <-chan struct{}) {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-freed:
		case <-tick.C:
		}
		freed = a.follow(places)
	}
}

// follow names the static upstreams of policies. The channel it returns is
// closed when it should be called again.
func (a *App) follow(places map[*Policy]*placement) <-chan struct{} {
	freed := a.shared.events.Freed()
	for p, place := range places {
		a.shared.events.Follow(p.eventsSubscriber, place.addresses())
	}
	return freed
}

// Stop takes the options back. Caddy stops all apps of a config before it cancels
// health checks.
func (a *App) Stop() error {
	for p, place := range a.places {
		p.rememberHealth(place.upstreams)
	}
	if a.stop != nil {
		a.stop()
	}
	a.shared.withdraw(a.settings)
	return nil
}

// Cleanup returns the reference; the last one to go drops the shared state.
func (a *App) Cleanup() error {
	if a.shared == nil {
		return nil // Caddy cleans up after a failed Provision too
	}
	return releaseShared()
}

// HashKey returns the key of this config, at least 16 bytes: the configured
// one, or the process's random one.
func (a *App) HashKey() []byte {
	if a.settings.key != nil {
		return a.settings.key
	}
	return a.shared.random
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
