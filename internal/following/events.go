// SPDX-License-Identifier: Apache-2.0

package following

import (
	"github.com/bauxite/caddy-kvaware/internal/endpoint"
	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// Events holds the addresses of upstreams' KV events: a policy's events option,
// checked, with all defaults filled in. Two policies follow an upstream in the
// same way when their Events are equal.
type Events struct {
	Address endpoint.Template    // of the upstreams' live events; "" with Listen
	Listen  string               // host:port for publishers that connect to the gateway; "" with Address
	Replay  endpoint.Template    // of past events; "": they cannot be read
	Ranks   int                  // data-parallel ranks of each upstream, at least 1
	Weights kvevents.TierWeights // the worth of a token in each tier
}

// Publishers returns the publishers of an upstream, one for each rank. It
// returns none when the upstream's address does not lead to any.
func (e *Events) Publishers(upstream string) []kvevents.Publisher {
	if !endpoint.IsHostPort(upstream) {
		return nil
	}
	if e.Listen != "" {
		return e.dialingIn(upstream)
	}
	events := e.Address.For(upstream, "tcp")
	if events == nil {
		return nil
	}
	var replay string
	if e.Replay != "" {
		u := e.Replay.For(upstream, "tcp")
		if u == nil {
			return nil
		}
		replay = u.Host
	}
	publishers := make([]kvevents.Publisher, 0, e.Ranks)
	for rank := range e.Ranks {
		p := kvevents.Publisher{Upstream: upstream, Rank: rank, Events: endpoint.AddPort(events.Host, rank)}
		if replay != "" {
			p.Replay = endpoint.AddPort(replay, rank)
		}
		if p.Events == "" || replay != "" && p.Replay == "" {
			return nil
		}
		publishers = append(publishers, p)
	}
	return publishers
}

// dialingIn returns the publishers of an upstream that connects to the gateway.
func (e *Events) dialingIn(upstream string) []kvevents.Publisher {
	publishers := make([]kvevents.Publisher, e.Ranks)
	for rank := range publishers {
		publishers[rank] = kvevents.Publisher{Upstream: upstream, Rank: rank}
	}
	return publishers
}

// PortsOverlap reports whether the events of one rank would be at the replay
// port of another. With one port relative to the upstream's it depends on that one.
func (e *Events) PortsOverlap() bool {
	if e.Replay == "" || e.Address == "" || e.Address.Relative() != e.Replay.Relative() {
		return false
	}
	const example = "192.0.2.1:8000"
	events, replay := e.Address.For(example, "tcp"), e.Replay.For(example, "tcp")
	if events == nil || replay == nil || events.Hostname() != replay.Hostname() {
		return false
	}
	for rank := range e.Ranks {
		if endpoint.AddPort(events.Host, rank) == replay.Host || endpoint.AddPort(replay.Host, rank) == events.Host {
			return true
		}
	}
	return false
}
