// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("kv_aware", parseApp)
}

// parseApp sets up the app from the global option. Syntax:
//
//	kv_aware {
//	    memory_limit <size>
//	    hash_key     <key>
//	    volatile_only require|best_effort|off
//	}
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		return nil, d.Err("kv_aware is configured twice")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "kv_aware", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. Syntax:
//
//	kv_aware {
//	    memory_limit <size>
//	    hash_key     <key>
//	    volatile_only require|best_effort|off
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the option's name
	if d.NextArg() {
		return d.Err("kv_aware takes a block of options, no arguments")
	}
	options := newOptions("kv_aware", "memory_limit", "hash_key", "volatile_only")
	for d.NextBlock(0) {
		option := d.Val()
		value, err := options.argument(d)
		if err != nil {
			return err
		}
		switch option {
		case "memory_limit":
			if a.MemoryLimit, err = parseSize(option, value); err == nil {
				err = checkMemoryLimit(a.MemoryLimit)
			}
		case "hash_key":
			a.Key = &value
		case "volatile_only":
			a.VolatileOnly, err = value, checkVolatileOnly(value)
		}
		if err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy kv_aware {
//	    radix_depth <blocks>
//	    block_size  <size>
//	    fallback    <policy>
//	    unscrubbed  refuse|fallback
//	    usage       observe|inject
//	    tenant      <placeholder>
//	    cache_salt  on|off
//	    max_wait    <duration>
//	    priority    <placeholder>
//	    keepalive   <duration>
//	    capacity    <tokens>
//	    metrics     <path>|off
//	    models      union|off
//	    events      <address>|listen <address> {
//	        replay      <address>
//	        ranks       <number>
//	        tier_weight <tier> <weight>...
//	    }
//	    tokenize    after|inline [<duration>]|off
//	    lmcache     <url>|coordinator <url> {
//	        wait     <duration>
//	        warm_gpu on|off
//	    }
//	    eject       off|{
//	        failures <number>
//	        base     <duration>
//	        max      <duration>
//	        share    <share>
//	    }
//	}
func (p *Policy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if d.NextArg() {
		return d.Err("lb_policy kv_aware takes a block of options, no arguments")
	}
	given := newOptions("lb_policy kv_aware", "radix_depth", "block_size", "fallback", "unscrubbed", "usage", "tenant", "cache_salt", "max_wait", "priority", "keepalive", "capacity", "metrics", "models", "events", "tokenize", "lmcache", "eject")
	blocks := map[string]func(*caddyfile.Dispenser, options) error{
		"fallback": p.parseFallback, "events": p.parseEvents, "tokenize": p.parseTokenize, "lmcache": p.parseLMCache,
		"eject": p.parseEject,
	}
	for d.NextBlock(0) {
		option := d.Val()
		if parse := blocks[option]; parse != nil {
			if err := parse(d, given); err != nil {
				return err
			}
			continue
		}
		value, err := given.argument(d)
		if err != nil {
			return err
		}
		switch option {
		case "radix_depth":
			if p.RadixDepth, err = strconv.Atoi(value); err != nil {
				p.RadixDepth = -1 // out of range
			}
			err = checkRadixDepth(p.RadixDepth)
		case "block_size":
			var size int64
			if size, err = parseSize(option, value); err == nil {
				err = checkBlockSize(size)
			}
			p.BlockSize = int(size)
		case "unscrubbed":
			p.Unscrubbed, err = value, checkUnscrubbed(value)
		case "usage":
			p.Usage, err = value, checkUsage(value)
		case "tenant":
			if p.Tenant = value; value == "" {
				err = errors.New("tenant takes a placeholder such as {http.auth.user.id}")
			}
		case "cache_salt":
			p.CacheSalt, err = parseSwitch(option, value)
		case "max_wait":
			p.MaxWait, err = parseDuration(value, 1, errMaxWait)
		case "priority":
			if p.Priority = value; value == "" {
				err = errPriority
			}
		case "keepalive":
			p.KeepAlive, err = parseDuration(value, MinKeepAlive, errKeepAlive)
		case "capacity":
			if p.Capacity, err = strconv.ParseInt(value, 10, 64); err != nil || p.Capacity == 0 {
				p.Capacity = -1 // out of range
			}
			err = checkCapacity(p.Capacity)
		case "metrics":
			p.Metrics, err = value, checkMetrics(value)
		case "models":
			p.Models, err = value, checkModels(value)
		}
		if err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// options holds the options of a block, and which of them were given.
type options struct {
	block string
	given map[string]bool // by name; false until given
}

func newOptions(block string, names ...string) options {
	o := options{block: block, given: make(map[string]bool, len(names))}
	for _, name := range names {
		o.given[name] = false
	}
	return o
}

// note refuses the option at the cursor when the block does not take it, or
// when it was given before.
func (o options) note(d *caddyfile.Dispenser) error {
	given, known := o.given[d.Val()]
	switch {
	case !known:
		names := slices.Sorted(maps.Keys(o.given))
		return d.Errf("unrecognized option '%s': %s takes %s", d.Val(), o.block, strings.Join(names, ", "))
	case given:
		return d.Errf("%s is given twice", d.Val())
	}
	o.given[d.Val()] = true
	return nil
}

// argument returns the one argument of the option at the cursor.
func (o options) argument(d *caddyfile.Dispenser) (string, error) {
	if err := o.note(d); err != nil {
		return "", err
	}
	option := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s takes one argument", option)
	}
	value := d.Val()
	if d.NextArg() {
		return "", d.Errf("%s takes one argument", option)
	}
	return value, nil
}

// parseSize reads a size such as 20MB or 16KiB.
func parseSize(option, value string) (int64, error) {
	size, err := humanize.ParseBytes(value)
	if err != nil || size > 1<<62 {
		return 0, fmt.Errorf("%s takes a size such as 20MB", option)
	}
	return int64(size), nil
}

// parseDuration reads a duration of at least least; anything else is wrong.
func parseDuration(value string, least time.Duration, wrong error) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(value)
	if err != nil || d < least {
		return 0, wrong
	}
	return caddy.Duration(d), nil
}

// parseSwitch reads on or off.
func parseSwitch(option, value string) (bool, error) {
	if value != "on" && value != "off" {
		return false, fmt.Errorf("%s takes on or off", option)
	}
	return value == "on", nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Policy)(nil)
)
