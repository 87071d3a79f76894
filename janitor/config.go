// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// Values of the options.
const (
	placeholderNumbered = "numbered"
	placeholderKeyed    = "keyed"
	unknownRefuse       = "refuse"
	unknownPass         = "pass"
)

// setDefaults fills in what the configuration leaves out.
func (h *Handler) setDefaults() {
	if h.Mode == "" {
		h.Mode = modeNames[modePlaceholder]
	}
	if h.Placeholder == "" {
		h.Placeholder = placeholderNumbered
	}
	if h.Unknown == "" {
		h.Unknown = unknownRefuse
	}
	if h.MaxSize == 0 {
		h.MaxSize = DefaultMaxSize
	}
	if h.InFlightLimit == 0 {
		h.InFlightLimit = DefaultInFlightLimit
	}
	if h.AdmitWait == 0 {
		h.AdmitWait = DefaultAdmitWait
	}
	if h.ReadTimeout == 0 {
		h.ReadTimeout = DefaultReadTimeout
	}
}

// check looks at every option that needs no other module.
func (h *Handler) check() error {
	m, ok := parseMode(h.Mode)
	if !ok {
		return fmt.Errorf("mode %q: must be placeholder, redact, block or detect", h.Mode)
	}
	h.mode = m
	h.entityModes = make(map[pii.Entity]mode, len(h.EntityModes))
	for e, name := range h.EntityModes {
		if m, ok = parseMode(name); !ok {
			return fmt.Errorf("entity_modes: %q: must be placeholder, redact, block or detect", name)
		}
		h.entityModes[pii.Entity(e)] = m
	}
	switch {
	case h.Placeholder != placeholderNumbered && h.Placeholder != placeholderKeyed:
		return fmt.Errorf("placeholder %q: must be numbered or keyed", h.Placeholder)
	case h.Unknown != unknownRefuse && h.Unknown != unknownPass:
		return fmt.Errorf("unknown %q: must be refuse or pass", h.Unknown)
	case h.MaxSize < 0:
		return errors.New("max_size must not be negative")
	case h.InFlightLimit < 0:
		return errors.New("in_flight_limit must not be negative")
	case h.AdmitWait < 0:
		return errors.New("admit_wait must not be negative")
	case h.ReadTimeout < 0:
		return errors.New("read_timeout must not be negative")
	case h.Restore != nil && !*h.Restore && len(h.RestoreEntities) > 0:
		return errors.New("restore_entities has no meaning when restore is off")
	}
	h.pass = h.Unknown == unknownPass
	return nil
}

// warn says what is allowed, but hardly meant.
func (h *Handler) warn() {
	if h.InFlightLimit/admission.UploadShare < h.MaxSize {
		h.logger.Warn("in_flight_limit is less than twice max_size: the uploads of one client may fill half of it, so that bodies of max_size are never admitted",
			zap.Int64("in_flight_limit", h.InFlightLimit), zap.Int64("max_size", h.MaxSize))
	}
}

// provisionScanner makes the scanner and what depends on the entities it may
// find.
func (h *Handler) provisionScanner(ctx caddy.Context) error {
	guests, err := loadGuests(ctx, h.Recognizers)
	if err != nil {
		return err
	}
	h.scanner, err = pii.New(pii.Options{
		Recognizers: h.Recognizers,
		Patterns:    h.Patterns,
		Allow:       h.Allow,
		Guests:      guests,
	})
	if err != nil {
		return err // names options and recognizers only
	}
	return h.useEntities(entities(guests, h.Patterns))
}

// entities lists all labels that findings may have, sorted.
func entities(guests []pii.Recognizer, patterns map[string]string) []pii.Entity {
	var list []pii.Entity
	for _, info := range pii.List() {
		list = append(list, info.Entity)
	}
	for _, g := range guests {
		list = append(list, g.Entity())
	}
	for name := range patterns {
		list = append(list, patternEntity(name))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// patternEntity is the label of a pattern's findings. Names of other
// characters than letters, digits, '-' and '_' do not get here.
func patternEntity(name string) pii.Entity {
	return pii.Entity(strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
}

// useEntities checks the labels that options name and prepares the counters.
// A label that no finding can have is a mistake that would otherwise show only
// when a value that was to be blocked goes through.
func (h *Handler) useEntities(known []pii.Entity) error {
	for e := range h.entityModes {
		if !slices.Contains(known, e) {
			return unknownEntity("mode", e, known)
		}
	}
	if err := h.useRestore(known); err != nil {
		return err
	}
	h.counters = make(map[pii.Entity]prometheus.Counter, len(known))
	for _, e := range known {
		h.counters[e] = findingsTotal.WithLabelValues(string(e))
	}
	return nil
}

// useRestore decides what is restored: what is named, else all but secrets;
// never what is named with a '-'.
func (h *Handler) useRestore(known []pii.Entity) error {
	named, except := make(map[pii.Entity]bool), make(map[pii.Entity]bool)
	for _, name := range h.RestoreEntities {
		bare, not := strings.CutPrefix(name, "-")
		if !slices.Contains(known, pii.Entity(bare)) {
			return unknownEntity("restore", pii.Entity(bare), known)
		}
		if not {
			except[pii.Entity(bare)] = true
		} else {
			named[pii.Entity(bare)] = true
		}
	}
	on := h.Restore == nil || *h.Restore
	h.restorable = func(e pii.Entity) bool {
		switch {
		case !on || except[e]:
			return false
		case len(named) > 0:
			return named[e]
		}
		return !e.Secret()
	}
	return nil
}

func unknownEntity(option string, e pii.Entity, known []pii.Entity) error {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	return fmt.Errorf("%s: unknown entity %q: must be one of %s", option, e, strings.Join(names, ", "))
}

// placeholderKey is the key that placeholders are made with now, nil when they
// are numbered. It is asked for at each request: a reload may change it.
func (h *Handler) placeholderKey() []byte {
	if h.keys == nil {
		return nil
	}
	return h.keys.HashKey()
}
