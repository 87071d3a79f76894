// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"cmp"
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

// setDefaults sets the options that the configuration leaves out.
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

// parseOptions derives the handler's fields from its options. A name that is not
// valid counts as the default until Validate refuses it.
func (h *Handler) parseOptions() {
	h.mode, _ = parseMode(h.Mode)
	h.entityModes = make(map[pii.Entity]mode, len(h.EntityModes))
	for e, name := range h.EntityModes {
		h.entityModes[pii.Entity(e)], _ = parseMode(name)
	}
	h.pass = h.Unknown == unknownPass
	h.steering = newSteering(h.EngineMembers)
}

// takes describes the values of each option, for error messages.
var takes = map[string]string{
	"mode":            "placeholder, redact, block or detect, and the entities it applies to",
	"placeholder":     "numbered or keyed",
	"restore":         "on or off, and the entities it applies to",
	"recognizers":     "names, +names and -names",
	"pattern":         "a name and a regular expression",
	"allow":           "values that are not empty",
	"unknown":         "refuse or pass",
	"engine_members":  "strip, refuse or pass, and the names of members and headers",
	"max_size":        "a size above 0 such as 32MB",
	"in_flight_limit": "a size above 0 such as 512MB",
	"admit_wait":      "a duration above 0 such as 1s",
	"read_timeout":    "a duration above 0 such as 30s",
}

// invalid returns the error for a value that the option does not take.
func invalid(option string, value any) error {
	return fmt.Errorf("%s: '%v' is not valid; it takes %s", option, value, takes[option])
}

// The checks of single values, for Validate and for the Caddyfile.

func checkMode(name string) error {
	if _, ok := parseMode(name); !ok {
		return invalid("mode", name)
	}
	return nil
}

func checkPlaceholder(name string) error {
	if name != placeholderNumbered && name != placeholderKeyed {
		return invalid("placeholder", name)
	}
	return nil
}

func checkUnknown(name string) error {
	if name != unknownRefuse && name != unknownPass {
		return invalid("unknown", name)
	}
	return nil
}

// checkPositive checks a size in bytes or a duration.
func checkPositive[T int64 | caddy.Duration](option string, n T) error {
	if n <= 0 {
		return invalid(option, n)
	}
	return nil
}

func checkRecognizer(name string) error {
	if name == "" || name == "+" || name == "-" {
		return invalid("recognizers", name)
	}
	return nil
}

func checkAllow(value string) error {
	if value == "" {
		return invalid("allow", value)
	}
	return nil
}

// checkOptions checks all values. Patterns are checked by pii.New, and labels of
// entities by useEntities.
func (h *Handler) checkOptions() error {
	errs := []error{
		checkMode(h.Mode),
		checkPlaceholder(h.Placeholder),
		checkUnknown(h.Unknown),
		checkPositive("max_size", h.MaxSize),
		checkPositive("in_flight_limit", h.InFlightLimit),
		checkPositive("admit_wait", h.AdmitWait),
		checkPositive("read_timeout", h.ReadTimeout),
	}
	for _, name := range h.EntityModes {
		errs = append(errs, checkMode(name))
	}
	for _, rule := range h.EngineMembers {
		errs = append(errs, checkEngineMembers(rule))
	}
	for _, name := range h.Recognizers {
		errs = append(errs, checkRecognizer(name))
	}
	for _, value := range h.Allow {
		errs = append(errs, checkAllow(value))
	}
	if h.Restore != nil && !*h.Restore && len(h.RestoreEntities) > 0 {
		errs = append(errs, errors.New("restore_entities has no meaning when restore is off"))
	}
	return cmp.Or(errs...)
}

// warn logs limits that are allowed but hardly intended.
func (h *Handler) warn() {
	if h.InFlightLimit/admission.UploadShare < h.MaxSize {
		h.logger.Warn("in_flight_limit is less than twice max_size: the uploads of one client may fill half of it, so that bodies of max_size are never admitted",
			zap.Int64("in_flight_limit", h.InFlightLimit), zap.Int64("max_size", h.MaxSize))
	}
}

// provisionScanner makes the scanner, and all that depends on the entities it
// can find.
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
		return err // it quotes options and recognizers only
	}
	return h.useEntities(entities(guests, h.Patterns))
}

// entities returns the labels that findings can have, sorted.
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

// patternEntity returns the label of a pattern's findings. pii.New has refused
// names with characters other than letters, digits, '-' and '_'.
func patternEntity(name string) pii.Entity {
	return pii.Entity(strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
}

// useEntities checks the labels in the options and prepares the counters. A
// label that no finding can have is a mistake. Otherwise it would show only when
// a value passes that should be blocked.
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

// useRestore sets which entities are restored: those that are named, else all
// but secrets, and never those named with a '-'.
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

// placeholderKey returns the key of the placeholders, nil when they are
// numbered. Each request asks for it: a reload may change it.
func (h *Handler) placeholderKey() []byte {
	if h.keys == nil {
		return nil
	}
	return h.keys.HashKey()
}
