// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/volatile"
	"github.com/bauxite/caddy-kvaware/internal/volatile/needs"
)

// Values of volatile_only.
const (
	volatileRequire    = "require"
	volatileBestEffort = "best_effort"
	volatileOff        = "off"
)

var errVolatileOnly = errors.New("volatile_only takes require, best_effort or off")

func isVolatileOnly(s string) bool {
	return s == volatileRequire || s == volatileBestEffort || s == volatileOff
}

// prepareLock has the process locked when the config has started. Before, apps may
// still write, or fail to start; then Caddy goes back to the earlier config, but a
// lock cannot be undone.
func (a *App) prepareLock() error {
	if a.settings.volatileOnly == volatileOff {
		return nil
	}
	app, err := a.ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %v", err)
	}
	return app.(*caddyevents.App).On("started", &locker{a})
}

// admitLock checks the kernel, and all apps, which are provisioned now. It refuses
// a config that would fail once the process is locked, or warns of it.
func (a *App) admitLock() error {
	if a.settings.volatileOnly == volatileOff {
		if volatile.State() != volatile.Unlocked {
			a.logger.Warn("volatile_only off: the process was locked out of the disk before and stays so until it is restarted")
		}
		return nil
	}
	if a.settings.volatileOnly == volatileBestEffort {
		for _, n := range needs.Of(a.ctx) {
			a.logger.Warn("volatile_only best_effort: this will fail once the process is locked out of the disk",
				zap.String("need", n.Use), zap.String("way_out", n.Instead))
		}
		return nil
	}
	if err := volatile.Check(); err != nil {
		return fmt.Errorf("volatile_only require: %w; run it on a kernel that can, or say volatile_only best_effort, which warns, or off", err)
	}
	var all []string
	for _, n := range needs.Of(a.ctx) {
		all = append(all, n.Use+" ("+n.Instead+")")
	}
	if len(all) > 0 {
		return fmt.Errorf("volatile_only require: the config needs the disk after its start: %s; or say volatile_only best_effort, which warns, or off", strings.Join(all, "; "))
	}
	return nil
}

// locker locks the process when the config has started.
type locker struct{ app *App }

// Handle implements caddyevents.Handler.
func (l *locker) Handle(context.Context, caddy.Event) error {
	if volatile.State() == volatile.Locked {
		return nil
	}
	a := l.app
	level, err := volatile.LockBestEffort()
	if err != nil && a.settings.volatileOnly == volatileRequire {
		// Start has tried the lock, so this hardly ever happens. An event cannot
		// refuse the config, and going on would break the promise of require.
		a.logger.Fatal("volatile_only require: the process cannot be locked out of the disk and ends", zap.Error(err))
	}
	if err := volatile.ForbidCoreDumps(); err != nil {
		a.logger.Warn("core dumps of the process cannot be forbidden", zap.Error(err))
	}
	if err != nil {
		a.logger.Warn("volatile_only best_effort: the process is not fully locked out of the disk",
			zap.Stringer("locked", level), zap.Error(err))
	}
	if level == volatile.Unlocked {
		return nil
	}
	a.logger.Info("the process is locked out of the disk until it ends", zap.Stringer("locked", level))
	if n, err := volatile.OpenForWriting(); err == nil && n > 0 {
		a.logger.Warn("files that were open before can still be written", zap.Int("files", n))
	}
	return nil
}

// volatileReport is the answer of GET /kv_aware/volatile.
type volatileReport struct {
	VolatileOnly string `json:"volatile_only"` // as configured
	Locked       string `json:"locked"`        // no, partly or fully
	// Files, without standard output and error, that are still open for writing;
	// -1: unknown.
	OpenForWriting int `json:"open_for_writing"`
}

func serveVolatile(s *shared, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return apiError(http.StatusMethodNotAllowed, "this path takes GET")
	}
	n, err := volatile.OpenForWriting()
	if err != nil {
		n = -1
	}
	return writeJSON(w, volatileReport{
		VolatileOnly:   s.volatileOnly(),
		Locked:         volatile.State().String(),
		OpenForWriting: n,
	})
}

// volatileOnly returns the value of the running config.
func (s *shared) volatileOnly() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.settings) == 0 {
		return volatileOff
	}
	return s.settings[len(s.settings)-1].volatileOnly
}

// diskLocked returns the value of the metric.
func diskLocked() float64 {
	if volatile.State() == volatile.Locked {
		return 1
	}
	return 0
}

// Interface guards
var _ caddyevents.Handler = (*locker)(nil)
