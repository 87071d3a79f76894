// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("pii_janitor", parseCaddyfile)
	// The janitor runs after encode, so that the answer is not compressed yet, and
	// before handle and route: a janitor of the site that ran after them would not
	// see their requests, and raw prompts would leave.
	httpcaddyfile.RegisterDirectiveOrder("pii_janitor", httpcaddyfile.Before, "invoke")
}

func parseCaddyfile(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h := new(Handler)
	err := h.UnmarshalCaddyfile(helper.Dispenser)
	return h, err
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	pii_janitor [<matcher>] {
//	    mode            placeholder|redact|block|detect [<entity...>]
//	    placeholder     numbered|keyed
//	    restore         on|off [<entity...>]
//	    recognizers     [+|-]<name> ...
//	    pattern         <name> <regex>
//	    allow           <value...>
//	    unknown         refuse|pass
//	    engine_members  strip|refuse|pass [<name...>]
//	    max_size        <size>
//	    in_flight_limit <size>
//	    admit_wait      <duration>
//	    read_timeout    <duration>
//	}
//
// All options are optional. mode (with entities), pattern, allow and
// engine_members may be repeated. "restore on" with entities restores only these, secrets included.
// "restore off" with entities restores all the others, but no secrets.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.Errf("unexpected argument '%s': the options of pii_janitor go into a block", d.Val())
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		option := d.Val()
		parse, ok := options[option]
		if !ok {
			return d.Errf("unrecognized option '%s': pii_janitor takes %s", option, strings.Join(slices.Sorted(maps.Keys(options)), ", "))
		}
		if seen[option] && !slices.Contains(repeatable, option) {
			return d.Errf("%s is specified already", option)
		}
		seen[option] = true
		if err := parse(h, d); err != nil {
			return err
		}
		if d.NextArg() {
			return d.Errf("%s: unexpected argument '%s'; it takes %s", option, d.Val(), takes[option])
		}
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			return d.Errf("%s: takes no block; it takes %s", option, takes[option])
		}
	}
	return nil
}

var repeatable = []string{"mode", "pattern", "allow", "engine_members"}

var options map[string]func(*Handler, *caddyfile.Dispenser) error

func init() {
	options = map[string]func(*Handler, *caddyfile.Dispenser) error{
		"mode":           (*Handler).parseMode,
		"restore":        (*Handler).parseRestore,
		"recognizers":    (*Handler).parseRecognizers,
		"pattern":        (*Handler).parsePattern,
		"allow":          (*Handler).parseAllow,
		"engine_members": (*Handler).parseEngineMembers,
		"placeholder": func(h *Handler, d *caddyfile.Dispenser) error {
			return parseChoice(d, &h.Placeholder, checkPlaceholder)
		},
		"unknown":         func(h *Handler, d *caddyfile.Dispenser) error { return parseChoice(d, &h.Unknown, checkUnknown) },
		"max_size":        func(h *Handler, d *caddyfile.Dispenser) error { return parseSize(d, &h.MaxSize) },
		"in_flight_limit": func(h *Handler, d *caddyfile.Dispenser) error { return parseSize(d, &h.InFlightLimit) },
		"admit_wait":      func(h *Handler, d *caddyfile.Dispenser) error { return parseDuration(d, &h.AdmitWait) },
		"read_timeout":    func(h *Handler, d *caddyfile.Dispenser) error { return parseDuration(d, &h.ReadTimeout) },
	}
}

// value returns the next argument of the option.
func value(d *caddyfile.Dispenser) (option, arg string, err error) {
	option = d.Val()
	if !d.NextArg() {
		return option, "", d.Errf("%s: argument missing; it takes %s", option, takes[option])
	}
	return option, d.Val(), nil
}

func parseChoice(d *caddyfile.Dispenser, dst *string, check func(string) error) error {
	_, arg, err := value(d)
	if err != nil {
		return err
	}
	*dst = arg
	return located(d, check(arg))
}

// located adds the file and line to an error, if there is one.
func located(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}

func parseSize(d *caddyfile.Dispenser, dst *int64) error {
	option, arg, err := value(d)
	if err != nil {
		return err
	}
	size, err := humanize.ParseBytes(arg)
	if err != nil || size > math.MaxInt64 || checkPositive(option, int64(size)) != nil {
		return located(d, invalid(option, arg))
	}
	*dst = int64(size)
	return nil
}

func parseDuration(d *caddyfile.Dispenser, dst *caddy.Duration) error {
	option, arg, err := value(d)
	if err != nil {
		return err
	}
	v, err := caddy.ParseDuration(arg)
	if err != nil || checkPositive(option, caddy.Duration(v)) != nil {
		return located(d, invalid(option, arg))
	}
	*dst = caddy.Duration(v)
	return nil
}

func (h *Handler) parseMode(d *caddyfile.Dispenser) error {
	option, name, err := value(d)
	if err != nil {
		return err
	}
	if err := checkMode(name); err != nil {
		return located(d, err)
	}
	entities := d.RemainingArgs()
	if len(entities) == 0 {
		if h.Mode != "" {
			return d.Errf("%s is specified already", option)
		}
		h.Mode = name
		return nil
	}
	for _, e := range entities {
		if _, ok := h.EntityModes[e]; ok {
			return d.Errf("%s is specified already for %s", option, e)
		}
		if h.EntityModes == nil {
			h.EntityModes = make(map[string]string)
		}
		h.EntityModes[e] = name
	}
	return nil
}

func (h *Handler) parseRestore(d *caddyfile.Dispenser) error {
	option, arg, err := value(d)
	if err != nil {
		return err
	}
	entities := d.RemainingArgs()
	on := arg == "on" || arg == "off" && len(entities) > 0
	if arg != "on" && arg != "off" {
		return located(d, invalid(option, arg))
	}
	for i := range entities {
		if arg == "off" {
			entities[i] = "-" + entities[i]
		}
	}
	h.Restore = &on
	h.RestoreEntities = entities
	return nil
}

func (h *Handler) parseRecognizers(d *caddyfile.Dispenser) error {
	_, name, err := value(d)
	if err != nil {
		return err
	}
	h.Recognizers = append([]string{name}, d.RemainingArgs()...)
	for _, name := range h.Recognizers {
		if err := checkRecognizer(name); err != nil {
			return located(d, err)
		}
	}
	return nil
}

func (h *Handler) parsePattern(d *caddyfile.Dispenser) error {
	option, name, err := value(d)
	if err != nil {
		return err
	}
	if !d.NextArg() {
		return d.Errf("%s %s: regular expression missing; it takes %s", option, name, takes[option])
	}
	if _, ok := h.Patterns[name]; ok {
		return d.Errf("%s %s is specified already", option, name)
	}
	if h.Patterns == nil {
		h.Patterns = make(map[string]string)
	}
	h.Patterns[name] = d.Val()
	return nil
}

func (h *Handler) parseAllow(d *caddyfile.Dispenser) error {
	_, first, err := value(d)
	if err != nil {
		return err
	}
	h.Allow = append(append(h.Allow, first), d.RemainingArgs()...)
	for _, value := range h.Allow {
		if err := checkAllow(value); err != nil {
			return located(d, err)
		}
	}
	return nil
}

func (h *Handler) parseEngineMembers(d *caddyfile.Dispenser) error {
	_, mode, err := value(d)
	if err != nil {
		return err
	}
	rule := EngineMemberRule{Mode: mode, Names: d.RemainingArgs()}
	h.EngineMembers = append(h.EngineMembers, rule)
	return located(d, checkEngineMembers(rule))
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
