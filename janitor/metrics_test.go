// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/admission"
)

// A second configuration registers the same collectors.
func TestMetricsShared(t *testing.T) {
	for range 2 {
		registry := prometheus.NewPedanticRegistry()
		for range 2 { // two handlers
			if err := registerMetrics(registry); err != nil {
				t.Fatal(err)
			}
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range families {
			names = append(names, f.GetName())
		}
		if !strings.Contains(strings.Join(names, " "), "caddy_pii_janitor_in_flight_bytes") {
			t.Errorf("families %v", names)
		}
	}
}

// counted reads a counter as a scrape does.
func counted(t testing.TB, name, label string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registerMetrics(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestFindingsCounted(t *testing.T) {
	h := newHandler(t)
	before := counted(t, "caddy_pii_janitor_findings_total", "EMAIL")
	serve(t, h, postChat(mail+" "+mail2+" "+mail))
	if got := counted(t, "caddy_pii_janitor_findings_total", "EMAIL") - before; got != 3 {
		t.Errorf("counted %g", got)
	}
}

// A scrape sees what requests hold.
func TestGauge(t *testing.T) {
	gauge := func() float64 {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(inFlightBytes)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return families[0].GetMetric()[0].GetGauge().GetValue()
	}
	l := processQueue.Open(admission.Request{Limit: 1_000_000, Announced: -1})
	before := gauge()
	if err := l.Grow(t.Context(), 4711); err != nil || gauge() != before+4711 {
		t.Errorf("%v, gauge %g, was %g", err, gauge(), before)
	}
	l.Close()
	if gauge() != before {
		t.Errorf("gauge %g, was %g", gauge(), before)
	}
}
