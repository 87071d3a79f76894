// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/admission"
)

// The process has one set of collectors: each configuration has a registry of
// its own, and counters must not restart at a reload. Labels are entities and
// reasons, both from fixed or configured sets.
var (
	findingsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "pii_janitor",
		Name:      "findings_total",
		Help:      "Personal data and secrets found in requests, by entity.",
	}, []string{"entity"})

	refusedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "pii_janitor",
		Name:      "refused_total",
		Help:      "Requests that were not forwarded, by reason.",
	}, []string{"reason"})

	engineMembersTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "pii_janitor",
		Name:      "engine_members_total",
		Help:      "Members and headers of requests that steer an engine from inside, by name and by what was done: strip or refuse.",
	}, []string{"member", "action"})

	passedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "pii_janitor",
		Name:      "passed_unread_total",
		Help:      "Requests with a body of unknown kind that were forwarded unread because of unknown pass, by reason.",
	}, []string{"reason"})

	inFlightBytes = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "caddy",
		Subsystem: "pii_janitor",
		Name:      "in_flight_bytes",
		Help:      "Bytes of bodies, scrubbed copies, vaults and buffered answers held now.",
	}, func() float64 { return float64(processQueue.Used()) })
)

// processQueue admits the requests of all handlers of this process.
var processQueue = admission.New()

// registerMetrics adds the collectors to a configuration's registry, unless
// another handler of the configuration has done so.
func registerMetrics(r *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{findingsTotal, refusedTotal, engineMembersTotal, passedTotal, inFlightBytes} {
		if err := r.Register(c); err != nil {
			var already prometheus.AlreadyRegisteredError
			if !errors.As(err, &already) {
				return err
			}
		}
	}
	return nil
}
