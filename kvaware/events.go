// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"net/url"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/routing"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
)

// maxRanks bounds how many data-parallel ranks an engine may have.
const maxRanks = 256

// Events configures where the engines publish their KV events over ZeroMQ (vLLM
// and SGLang: `--kv-events-config`). Such a stream carries every prompt's tokens
// in clear and without authentication: keep it on a trusted network.
//
// With events the gateway knows what each engine holds and has evicted, for
// requests of other gateways too. While a stream is dead or behind, the policy
// goes by its own history of that upstream.
type Events struct {
	// The URL of an upstream's events, such as
	// `tcp://{http.reverse_proxy.upstream.host}:5557`. Of the request's
	// placeholders only `{http.reverse_proxy.upstream.host}`, `.port`,
	// `.hostport` and `.address` can be used. A port with a plus sign is added to
	// the upstream's, for several engines on one host:
	// `tcp://{http.reverse_proxy.upstream.host}:+1000` is port 9000 for an
	// upstream at port 8000.
	Address string `json:"address,omitempty"`

	// In place of `address`: the address to listen at for engines that connect
	// to their subscribers, such as `tcp://0.0.0.0:5557`. Their topic must be
	// `kv@ADDRESS@MODEL`, with the upstream's dial address.
	Listen string `json:"listen,omitempty"`

	// The URL where past events can be read again (vLLM: `replay_endpoint`), with
	// the same placeholders and relative ports. Without it missed events stay unknown: those from
	// before the gateway's start, and after a gap all of them.
	Replay string `json:"replay,omitempty"`

	// The number of data-parallel ranks of each engine. Each rank publishes at a
	// port of its own: the configured port plus its number. With a relative port
	// the upstreams on one host must have ports at least so far apart. Default: 1.
	Ranks int `json:"ranks,omitempty"`

	// The worth of a token in each tier (`gpu`, `cpu`, `disk`), from 0, as if it
	// had to be computed, to 1, as if the GPU held it. Default: 1.0, 0.8 and 0.3.
	TierWeight map[string]float64 `json:"tier_weight,omitempty"`
}

// tierNames are the names of the tiers.
var tierNames = []string{kvevents.GPU: "gpu", kvevents.CPU: "cpu", kvevents.Disk: "disk"}

var (
	errEvents  = errors.New("events takes an address such as tcp://{http.reverse_proxy.upstream.host}:5557, or listen and an address such as tcp://0.0.0.0:5557")
	errReplay  = errors.New("events: replay takes an address such as tcp://{http.reverse_proxy.upstream.host}:5567")
	errListen  = errors.New("events: replay needs the engines' address: engines that connect to the gateway cannot be asked")
	errRanks   = errors.New("events: ranks takes a number from 1 to 256")
	errNearby  = errors.New("events: with several ranks the ports of events and replay must be at least that many apart")
	errWeights = errors.New("events: tier_weight takes gpu, cpu and disk, each with a weight from 0 to 1")
)

// check refuses options that are out of range.
func (e *Events) check() error {
	if e == nil {
		return nil
	}
	if (e.Address == "") == (e.Listen == "") {
		return errEvents
	}
	valid := func(template string) bool { return endpoint.Template(expand(template)).Valid("tcp") }
	if e.Address != "" && !valid(e.Address) || e.Listen != "" && e.listener() == "" {
		return errEvents
	}
	switch {
	case e.Replay != "" && !valid(e.Replay):
		return errReplay
	case e.Replay != "" && e.Listen != "":
		return errListen
	case e.Ranks < 0 || e.Ranks > maxRanks:
		return errRanks
	case e.expanded().following().PortsOverlap():
		return errNearby
	}
	for name, weight := range e.TierWeight {
		if !slices.Contains(tierNames, name) || !(weight >= 0 && weight <= 1) { // NaN neither
			return errWeights
		}
	}
	return nil
}

// listener returns the host:port to listen at, "" when there is none.
func (e *Events) listener() string {
	u, err := url.Parse(e.Listen)
	if err != nil || u.Scheme != "tcp" || u.Port() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
		return ""
	}
	return u.Host
}

// weights returns the worth of a token in each tier.
func (e *Events) weights() (w kvevents.TierWeights) {
	w = routing.DefaultTierWeights
	for tier, name := range tierNames {
		if configured, ok := e.TierWeight[name]; ok {
			w[tier] = configured
		}
	}
	return w
}

// following returns e as subscriptions need it.
func (e *Events) following() *following.Events {
	return &following.Events{
		Address: endpoint.Template(e.Address),
		Listen:  e.listener(),
		Replay:  endpoint.Template(e.Replay),
		Ranks:   max(1, e.Ranks),
		Weights: e.weights(),
	}
}

// expanded returns e with the placeholders replaced that mean the same for all
// requests.
func (e *Events) expanded() *Events {
	x := *e
	x.Address, x.Replay, x.Listen = expand(e.Address), expand(e.Replay), expand(e.Listen)
	return &x
}

// expand replaces the placeholders that mean the same for all requests, such as
// {env.NAME}.
func expand(s string) string { return caddy.NewReplacer().ReplaceKnown(s, "") }

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
