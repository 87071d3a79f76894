// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// WriteTable prints results as a table. Times are in seconds, except for the time
// per output token.
func WriteTable(w io.Writer, results []Result) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%-14s %8s %8s %9s %9s %9s %9s %9s %8s\n",
		"policy", "requests", "hit rate", "TTFT mean", "p50", "p90", "p99", "TPOT", "busiest")
	bounds := false
	for i := range results {
		r := &results[i]
		name := r.Policy
		if r.Bound {
			name, bounds = name+" *", true
		}
		fmt.Fprintf(b, "%-14s %8d %7.1f%% %8.3fs %8.3fs %8.3fs %8.3fs %7.1fms %8.2f\n",
			name, r.Requests, 100*r.HitRate, r.TTFT.Mean.Seconds(), r.TTFT.P50.Seconds(),
			r.TTFT.P90.Seconds(), r.TTFT.P99.Seconds(), milliseconds(r.TPOT), r.Busiest)
	}
	if bounds {
		fmt.Fprintln(b, "\n* a bound to compare with: no gateway can know, or have, that")
	}
	if skipped := skippedRows(results); skipped.Rows > 0 {
		fmt.Fprintf(b, "\n%s\n", skipped.String())
	}
	return b.Flush()
}

// skippedRows returns the rows of the trace that all policies had to do without.
func skippedRows(results []Result) Skipped {
	if len(results) == 0 {
		return Skipped{}
	}
	return results[0].Skipped
}

// jsonResult is one policy's result in WriteJSON.
type jsonResult struct {
	Policy   string   `json:"policy"`
	Requests int      `json:"requests"`
	HitRate  float64  `json:"hit_rate"`
	TTFT     jsonTTFT `json:"ttft_ms"`
	TPOT     float64  `json:"tpot_ms"`
	Busiest  float64  `json:"busiest"`
}

type jsonTTFT struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
}

// WriteJSON prints results as {"policies":[...]}, with the number of skipped rows as
// "skipped" where there are any.
func WriteJSON(w io.Writer, results []Result) error {
	out := struct {
		Policies []jsonResult `json:"policies"`
		Skipped  int          `json:"skipped,omitempty"`
	}{make([]jsonResult, len(results)), skippedRows(results).Rows}
	for i := range results {
		r := &results[i]
		out.Policies[i] = jsonResult{
			Policy:   r.Policy,
			Requests: r.Requests,
			HitRate:  round(r.HitRate, 5),
			TTFT: jsonTTFT{
				Mean: milliseconds(r.TTFT.Mean),
				P50:  milliseconds(r.TTFT.P50),
				P90:  milliseconds(r.TTFT.P90),
				P99:  milliseconds(r.TTFT.P99),
			},
			TPOT:    milliseconds(r.TPOT),
			Busiest: round(r.Busiest, 4),
		}
	}
	return json.NewEncoder(w).Encode(out)
}

// milliseconds returns d in milliseconds, rounded down to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}
