// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parseEvents reads
//
//	events <address>|listen <address> {
//	    replay      <address>
//	    ranks       <number>
//	    tier_weight <tier> <weight>...
//	}
func (p *Policy) parseEvents(d *caddyfile.Dispenser, o options) error {
	if err := o.note(d); err != nil {
		return err
	}
	e := new(Events)
	args := d.RemainingArgs()
	switch {
	case len(args) == 1 && args[0] != "listen":
		e.Address = args[0]
	case len(args) == 2 && args[0] == "listen":
		e.Listen = args[1]
	default:
		return d.WrapErr(errEvents)
	}
	inner := newOptions("events", "replay", "ranks", "tier_weight")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option == "tier_weight" {
			if err := e.parseTierWeight(d, inner); err != nil {
				return err
			}
			continue
		}
		value, err := inner.argument(d)
		if err != nil {
			return err
		}
		switch option {
		case "replay":
			e.Replay = value
		case "ranks":
			if e.Ranks, err = strconv.Atoi(value); err != nil || e.Ranks < 1 {
				return d.WrapErr(errRanks)
			}
		}
	}
	if err := e.check(); err != nil {
		return d.WrapErr(err)
	}
	p.Events = e
	return nil
}

// parseTierWeight reads `tier_weight gpu 1.0 cpu 0.8 disk 0.3`, any of them.
func (e *Events) parseTierWeight(d *caddyfile.Dispenser, o options) error {
	if err := o.note(d); err != nil {
		return err
	}
	args := d.RemainingArgs()
	if len(args) == 0 || len(args)%2 != 0 {
		return d.WrapErr(errWeights)
	}
	e.TierWeight = make(map[string]float64)
	for i := 0; i < len(args); i += 2 {
		weight, err := strconv.ParseFloat(args[i+1], 64)
		if _, twice := e.TierWeight[args[i]]; err != nil || twice {
			return d.WrapErr(errWeights)
		}
		e.TierWeight[args[i]] = weight
	}
	return nil
}

// parseTokenize reads `tokenize after|inline [<duration>]|off`.
func (p *Policy) parseTokenize(d *caddyfile.Dispenser, o options) error {
	if err := o.note(d); err != nil {
		return err
	}
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[0] != tokenizeInline {
		return d.WrapErr(errTokenize)
	}
	p.Tokenize = args[0]
	if len(args) == 2 {
		deadline, err := caddy.ParseDuration(args[1])
		if err != nil || deadline <= 0 {
			return d.WrapErr(errTokenize)
		}
		p.TokenizeDeadline = caddy.Duration(deadline)
	}
	if err := p.checkTokenize(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// parseLMCache reads
//
//	lmcache <url>|coordinator <url> {
//	    wait     <duration>
//	    warm_gpu on|off
//	}
func (p *Policy) parseLMCache(d *caddyfile.Dispenser, o options) error {
	if err := o.note(d); err != nil {
		return err
	}
	l := new(LMCache)
	args := d.RemainingArgs()
	switch {
	case len(args) == 1 && strings.Contains(args[0], "://"):
		l.Address = args[0]
	case len(args) == 2 && args[0] == "coordinator":
		l.Coordinator = args[1]
	case len(args) > 0 && args[0] == "controller":
		return d.WrapErr(errController)
	default:
		return d.WrapErr(errLMCache)
	}
	inner := newOptions("lmcache", "wait", "warm_gpu")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		value, err := inner.argument(d)
		if err != nil {
			return err
		}
		switch option {
		case "wait":
			wait, err := caddy.ParseDuration(value)
			if err != nil || wait < 0 {
				return d.WrapErr(errWait)
			}
			l.Wait = caddy.Duration(wait)
		case "warm_gpu":
			if l.WarmGPU = value == "on"; value != "on" && value != "off" {
				return d.Err("lmcache: warm_gpu takes on or off")
			}
		}
	}
	if err := l.check(); err != nil {
		return d.WrapErr(err)
	}
	p.LMCache = l
	return nil
}
