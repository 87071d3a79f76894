// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"strings"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// metric returns the sum of the samples of a metric that have all these labels.
// They come as name, value, name, value.
func metric(name string, labels ...string) float64 {
	families, err := harness.Registry().Gather()
	if err != nil {
		return -1
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := make(map[string]string)
			for _, label := range m.GetLabel() {
				has[label.GetName()] = label.GetValue()
			}
			fits := true
			for i := 0; i < len(labels); i += 2 {
				fits = fits && has[labels[i]] == labels[i+1]
			}
			if fits {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// picks returns the number of attempts that the policy has sent to a node.
func picks(n *node) int {
	return int(metric("caddy_kv_aware_requests_total", "upstream", n.address()))
}

// failures returns the number of attempts at a node that failed in one way.
func failures(n *node, kind string) int {
	return int(metric("caddy_kv_aware_failures_total", "upstream", n.address(), "kind", kind))
}

// leftOut reports whether a node is left out now.
func leftOut(n *node) bool {
	return metric("caddy_kv_aware_ejected", "upstream", n.address()) != 0
}

// probes returns the number of probes that have been sent to a node in a time that
// ends now: one behind each ejection. They are no more than are scheduled, or one
// every 5 s for an engine that is only busy.
func probes(n *node, in time.Duration) int {
	ejected, busy := ejections(n)
	return min(ejected, scheduledProbes(in)) + min(busy, int(in/(5*time.Second))+1)
}

// scheduledProbes returns the most probes that ejections leave room for: they come
// after 2 s, another 4 s, another 8 s, and then every 15 s. Jitter may bring one
// more.
func scheduledProbes(in time.Duration) int {
	most := 1
	for gap := 2 * time.Second; in >= gap; most++ {
		in -= gap
		gap = min(2*gap, 15*time.Second)
	}
	return most
}

// ejections returns how often the log says that a node is left out, because it
// fails and because it is busy.
func ejections(n *node) (failing, busy int) {
	for line := range strings.Lines(harness.Log.String()) {
		if !strings.Contains(line, fmt.Sprintf("%q", n.address())) {
			continue
		}
		switch {
		case strings.Contains(line, "is ejected because it fails"):
			failing++
		case strings.Contains(line, "is left out because it is busy"):
			busy++
		}
	}
	return failing, busy
}
