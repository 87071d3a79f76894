// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// answerText returns what a chat answer says.
func AnswerText(t testing.TB, body string, stream bool) string {
	t.Helper()
	if !stream {
		var a struct {
			Choices []struct {
				Message struct{ Content string }
			}
		}
		if err := json.Unmarshal([]byte(body), &a); err != nil || len(a.Choices) == 0 {
			t.Fatalf("not a chat answer: %.300s", body)
		}
		return a.Choices[0].Message.Content
	}
	var text strings.Builder
	done := false
	for _, line := range strings.Split(body, "\n") {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			done = true
			continue
		}
		var event struct {
			Choices []struct {
				Delta struct{ Content string }
			}
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			t.Fatalf("not an event: %.300s", data)
		}
		for _, c := range event.Choices {
			text.WriteString(c.Delta.Content)
		}
	}
	if !done {
		t.Fatalf("the stream has no end: %.300s", body)
	}
	return text.String()
}

// metric sums a metric of the running config over its labels.
func Metric(t testing.TB, name string) (sum float64) {
	t.Helper()
	families, err := Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			switch {
			case m.GetCounter() != nil:
				sum += m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				sum += m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				sum += float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// registry is the running config's metrics.
func Registry() *prometheus.Registry {
	ctx := caddy.ActiveContext()
	return ctx.GetMetricsRegistry()
}
