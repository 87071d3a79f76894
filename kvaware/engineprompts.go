// SPDX-License-Identifier: Apache-2.0

package kvaware

import "github.com/prometheus/client_golang/prometheus"

// enginePromptsMetric passes on what engines report of their prompts, so that the
// predictions of each part can be compared with it.
type enginePromptsMetric struct {
	shared *shared
	desc   *prometheus.Desc
}

func newEnginePromptsMetric(s *shared) *enginePromptsMetric {
	return &enginePromptsMetric{s, prometheus.NewDesc(
		prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "engine_prompt_tokens_total"),
		"Prompt tokens of all clients since the engine's start by its own metrics, by source: computed, gpu (cached there) or external (loaded, such as by LMCache).",
		[]string{"upstream", "source"}, nil)}
}

// Describe implements prometheus.Collector.
func (m *enginePromptsMetric) Describe(out chan<- *prometheus.Desc) { out <- m.desc }

// Collect implements prometheus.Collector.
func (m *enginePromptsMetric) Collect(out chan<- prometheus.Metric) {
	for address, s := range m.shared.upstreams.Prompts() {
		for source, tokens := range map[string]float64{"computed": s.Computed, "gpu": s.GPU, "external": s.External} {
			out <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, tokens, address, source)
		}
	}
}
