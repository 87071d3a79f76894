// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
)

// maxRanks bounds how many data-parallel ranks an engine may have.
const maxRanks = 256

// Events says where the engines publish what happens in their KV caches (vLLM:
// `--kv-events-config`, SGLang: `--kv-events-config`), over ZeroMQ. Such a
// stream carries every prompt's tokens in clear and without authentication: it
// belongs on a trusted network.
//
// With it the gateway knows what each engine holds and what it has evicted,
// also of requests that came by other ways. While a stream is dead or behind,
// the policy goes by what it has sent to that upstream itself.
type Events struct {
	// Where an upstream's events are, as a URL such as
	// `tcp://{http.reverse_proxy.upstream.host}:5557`. Of the request's
	// placeholders only `{http.reverse_proxy.upstream.host}`, `.port`,
	// `.hostport` and `.address` can be used.
	Address string `json:"address,omitempty"`

	// In place of `address`: the address to listen at for engines that connect
	// to their subscribers, such as `tcp://0.0.0.0:5557`. Their topic must be
	// `kv@ADDRESS@MODEL`, ADDRESS being the upstream's dial address.
	Listen string `json:"listen,omitempty"`

	// Where past events can be asked for again (vLLM: `replay_endpoint`), as a
	// URL with the same placeholders. Without it, what was missed stays unknown:
	// what an engine held before the gateway came, and after a gap all of it.
	Replay string `json:"replay,omitempty"`

	// How many data-parallel ranks each engine has. Each publishes at a port of
	// its own: the configured ports plus its number. Default: 1.
	Ranks int `json:"ranks,omitempty"`

	// What a token in each tier (`gpu`, `cpu`, `disk`) counts, from 0, as if it
	// had to be computed, to 1. Default: 1.0, 0.8 and 0.3.
	TierWeight map[string]float64 `json:"tier_weight,omitempty"`
}

// tierNames are the names of the tiers, and defaultWeights what they count.
var (
	tierNames      = []string{kvevents.GPU: "gpu", kvevents.CPU: "cpu", kvevents.Disk: "disk"}
	defaultWeights = [...]float64{kvevents.GPU: 1, kvevents.CPU: 0.8, kvevents.Disk: 0.3}
)

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
	if (e.Address == "") == (e.Listen == "") {
		return errEvents
	}
	if e.Address != "" && !endpoint.Template(expand(e.Address)).Valid("tcp") || e.Listen != "" && e.listener() == "" {
		return errEvents
	}
	switch {
	case e.Replay != "" && !endpoint.Template(expand(e.Replay)).Valid("tcp"):
		return errReplay
	case e.Replay != "" && e.Listen != "":
		return errListen
	case e.Ranks < 0 || e.Ranks > maxRanks:
		return errRanks
	case e.overlap():
		return errNearby
	}
	for name, weight := range e.TierWeight {
		if !slices.Contains(tierNames, name) || !(weight >= 0 && weight <= 1) { // NaN neither
			return errWeights
		}
	}
	return nil
}

// overlap reports whether a rank's events would be at another's replay.
func (e *Events) overlap() bool {
	if e.Replay == "" || e.Address == "" {
		return false
	}
	const some = "192.0.2.1:8000"
	events, replay := endpoint.Template(expand(e.Address)).For(some, "tcp"), endpoint.Template(expand(e.Replay)).For(some, "tcp")
	if events.Hostname() != replay.Hostname() {
		return false
	}
	for rank := range e.ranks() {
		if endpoint.AddPort(events.Host, rank) == replay.Host || endpoint.AddPort(replay.Host, rank) == events.Host {
			return true
		}
	}
	return false
}

func (e *Events) ranks() int { return max(1, e.Ranks) }

// listener returns the host:port to listen at, "" when there is none.
func (e *Events) listener() string {
	u, err := url.Parse(e.Listen)
	if err != nil || u.Scheme != "tcp" || u.Port() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
		return ""
	}
	return u.Host
}

// weights returns what each tier counts.
func (e *Events) weights() (w [3]float64) {
	w = defaultWeights
	for tier, name := range tierNames {
		if given, ok := e.TierWeight[name]; ok {
			w[tier] = given
		}
	}
	return w
}

// sources returns where an upstream's events are, one for each rank; none when
// its address does not lead to any.
func (e *Events) sources(upstream string) []kvevents.Publisher {
	if e.Listen != "" {
		return e.callers(upstream)
	}
	events := endpoint.Template(e.Address).For(upstream, "tcp")
	if events == nil {
		return nil
	}
	var replay string
	if e.Replay != "" {
		u := endpoint.Template(e.Replay).For(upstream, "tcp")
		if u == nil {
			return nil
		}
		replay = u.Host
	}
	sources := make([]kvevents.Publisher, 0, e.ranks())
	for rank := range e.ranks() {
		s := kvevents.Publisher{Upstream: upstream, Rank: rank, Events: endpoint.AddPort(events.Host, rank)}
		if replay != "" {
			s.Replay = endpoint.AddPort(replay, rank)
		}
		if s.Events == "" || replay != "" && s.Replay == "" {
			return nil
		}
		sources = append(sources, s)
	}
	return sources
}

// callers are the sources of an upstream that connects to us.
func (e *Events) callers(upstream string) []kvevents.Publisher {
	sources := make([]kvevents.Publisher, e.ranks())
	for rank := range sources {
		sources[rank] = kvevents.Publisher{Upstream: upstream, Rank: rank}
	}
	return sources
}

// expand replaces the placeholders that mean the same for all requests, such as
// {env.NAME}.
func expand(s string) string { return caddy.NewReplacer().ReplaceKnown(s, "") }

// known is e with the placeholders replaced that mean the same everywhere.
func (e *Events) known() *Events {
	k := *e
	k.Address = expand(e.Address)
	k.Replay = expand(e.Replay)
	k.Listen = expand(e.Listen)
	return &k
}

// same reports whether two policies follow an upstream in the same way.
func (e *Events) same(other *Events) bool {
	if e == nil || other == nil {
		return e == other
	}
	return e.Address == other.Address && e.Listen == other.Listen && e.Replay == other.Replay &&
		e.ranks() == other.ranks() && e.weights() == other.weights()
}
