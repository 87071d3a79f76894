// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
)

// TestTotalsOutliveStagers: a stager's counts stay when it is closed, its report does
// not.
func TestTotalsOutliveStagers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		totals := NewTotals()
		s := New(Options{Client: &readyClient{}, Totals: totals}).(*stager)
		tokens := s.tokens.keep(make([]uint32, 4096))
		<-s.order("a:1", lmcache.Prefix{Model: "m", Tokens: tokens.ids, Key: 7}, tokens).Done()
		tokens.release()
		totals.countHold(250 * time.Millisecond)
		want := Report{Orders: 1, Done: 1, Tokens: 4096, Result: "completed"}
		if r := totals.Report("a:1"); r == nil || *r != want {
			t.Errorf("report %+v, want %+v", r, want)
		}
		if r := totals.Report("b:1"); r != nil {
			t.Errorf("report %+v of an upstream without stagings", r)
		}
		s.Close()
		s.Close()
		if r := totals.Report("a:1"); r != nil {
			t.Errorf("report %+v of a closed stager", r)
		}
		got := gather(t, totals)
		for name, want := range map[string]float64{
			"caddy_kv_aware_staging_total completed":    1,
			"caddy_kv_aware_staging_total submitted":    1,
			"caddy_kv_aware_staged_tokens_total":        4096,
			"caddy_kv_aware_staging_waits_total":        1,
			"caddy_kv_aware_staging_wait_seconds_total": 0.25,
			"caddy_kv_aware_warmups_total completed":    0,
		} {
			if n, ok := got[name]; !ok || n != want {
				t.Errorf("%s: %v, want %v", name, n, want)
			}
		}
	})
}

// gather returns the counters of a collector by name and label value.
func gather(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counters := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.Metric {
			name := family.GetName()
			for _, label := range m.Label {
				name += " " + label.GetValue()
			}
			counters[name] = m.Counter.GetValue()
		}
	}
	return counters
}
