// SPDX-License-Identifier: Apache-2.0

package upstreams

import (
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/metrics"
)

// Prompts returns the sources of each engine's prompt tokens, by address, for engines
// that tell them apart.
func (m *Monitor) Prompts() map[string]metrics.Sources {
	prompts := make(map[string]metrics.Sources)
	for _, s := range m.watcher.States("") { // an engine's latest reading first
		if _, known := prompts[s.Target.Address]; !known && s.Reading.Prompts != (metrics.Sources{}) {
			prompts[s.Target.Address] = s.Reading.Prompts
		}
	}
	return prompts
}

// Report holds an engine's own figures, as the admin API shows them.
type Report struct {
	Kind     string   `json:"kind,omitempty"`             // vllm, sglang or llama.cpp
	ReadAgo  *float64 `json:"read_seconds_ago,omitempty"` // since its metrics were read; none: never
	Failure  string   `json:"failure,omitempty"`          // of the last attempt to read them
	Refused  bool     `json:"refused,omitempty"`          // nothing listened there
	Asleep   bool     `json:"asleep,omitempty"`           // it has discarded its KV cache
	Running  *int     `json:"running,omitempty"`          // requests
	Waiting  *int     `json:"waiting,omitempty"`
	KVUsage  *float64 `json:"kv_usage,omitempty"` // 0 to 1
	Capacity int64    `json:"capacity,omitempty"` // tokens
	Models   int      `json:"models,omitempty"`   // number of listed ones

	Aliases  map[string]string `json:"aliases,omitempty"`  // further names of a model, with its first one
	Adapters map[string]string `json:"adapters,omitempty"` // LoRA adapters, with the model of each
}

// Report returns the figures of the engine at an address; nil when it is not
// asked.
func (m *Monitor) Report(address string) *Report {
	states := m.watcher.States(address)
	if len(states) == 0 {
		return nil
	}
	r := newReport(states[0], m.now())
	r.addKin(m.Lineages().Listed(address))
	return r
}

// addKin adds the aliases and adapters of a list.
func (r *Report) addKin(list metrics.Models) {
	for _, model := range list {
		switch {
		case model.Parent != "":
			r.Adapters = added(r.Adapters, model.Name, model.Parent)
		case model.Lineage != model.Name:
			r.Aliases = added(r.Aliases, model.Name, model.Lineage)
		}
	}
}

func added(to map[string]string, name, of string) map[string]string {
	if to == nil {
		to = make(map[string]string)
	}
	to[name] = of
	return to
}

func newReport(s metrics.State, now time.Time) *Report {
	r := &Report{Refused: s.Down, Models: len(s.Models)}
	if s.Failure != nil {
		r.Failure = s.Failure.Error() // a fixed text
	}
	if s.ReadAt.IsZero() {
		return r
	}
	ago := now.Sub(s.ReadAt).Seconds()
	r.Kind, r.ReadAgo, r.Capacity = string(s.Reading.Engine), &ago, s.Reading.Capacity
	r.Asleep = s.Reading.Asleep
	if s.Reading.HasLoad {
		r.Running, r.Waiting = &s.Reading.Running, &s.Reading.Waiting
	}
	if s.Reading.Usage >= 0 {
		r.KVUsage = &s.Reading.Usage
	}
	return r
}

// CapacitySource returns the source of the capacity that counts for an
// upstream: config, metrics or learned, or "" when it is not known.
func (m *Monitor) CapacitySource(address string, capacity int64) string {
	m.mu.Lock()
	configured := m.configured.of(address)
	m.mu.Unlock()
	switch capacity {
	case 0:
		return ""
	case configured:
		return "config"
	case m.reportedCapacity(address):
		return "metrics"
	}
	return "learned"
}
