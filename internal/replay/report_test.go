// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func someResults() []Result {
	sorted := []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond}
	return []Result{
		{Policy: "kv_aware", Requests: 3, HitRate: 0.3, TTFT: distribution(sorted), TPOT: 12500 * time.Microsecond,
			Busiest: 1.04, sorted: sorted, load: []loadSample{{1, 1}, {4, 3}}, nodes: 2},
		{Policy: "exact", Bound: true}, // nothing served
	}
}

func TestDistribution(t *testing.T) {
	var hundred []time.Duration
	for i := range 101 {
		hundred = append(hundred, time.Duration(i))
	}
	if got := distribution(hundred); got != (Distribution{Mean: 50, P50: 50, P90: 90, P99: 99}) {
		t.Errorf("%+v", got)
	}
	if got := distribution([]time.Duration{0, 10}); got != (Distribution{Mean: 5, P50: 5, P90: 9, P99: 9}) {
		t.Errorf("%+v", got)
	}
	if got := distribution(nil); got != (Distribution{}) {
		t.Errorf("%+v", got)
	}
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	if err := WriteJSON(&b, someResults()[:1]); err != nil {
		t.Fatal(err)
	}
	want := `{"policies":[{"policy":"kv_aware","requests":3,"hit_rate":0.3,"ttft_ms":{"mean":23.333,"p50":20,"p90":36,"p99":39.6},"tpot_ms":12.5,"busiest":1.04}]}` + "\n"
	if b.String() != want {
		t.Errorf("%s", b.String())
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := WriteTable(&b, someResults()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if len(lines) != 6 || !strings.HasPrefix(lines[2], "exact *") || !strings.HasPrefix(lines[4], "* a bound") {
		t.Fatalf("%q", lines)
	}
	if fields := strings.Fields(lines[1]); strings.Join(fields, " ") != "kv_aware 3 30.0% 0.023s 0.020s 0.036s 0.040s 12.5ms 1.04" {
		t.Errorf("%q", fields)
	}
}

func TestSVGIsWellFormed(t *testing.T) {
	for _, results := range [][]Result{someResults(), nil} {
		var b strings.Builder
		if err := WriteSVG(&b, results); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(strings.NewReader(b.String()))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
			t.Error("a point that is nowhere")
		}
		for i := range results {
			if strings.Count(b.String(), ">"+results[i].Policy+"<") != 2 {
				t.Errorf("%s is not named beside both of its curves", results[i].Policy)
			}
		}
	}
}

func TestSkippedRowsAreReported(t *testing.T) {
	results := someResults()
	results[0].Skipped = Skipped{Rows: 3, First: &LineError{Line: 7, Err: errTokens}}
	for want, write := range map[string]func(io.Writer, []Result) error{
		"\n3 rows of the trace were skipped, first line 7: token counts": WriteTable,
		`}],"skipped":3}`:                     WriteJSON,
		">3 rows of the trace were skipped, ": WriteSVG,
	} {
		var b strings.Builder
		if err := write(&b, results); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%v, no %q in %s", err, want, b.String())
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriteErrorsAreReturned(t *testing.T) {
	for _, write := range []func(io.Writer, []Result) error{WriteTable, WriteJSON, WriteSVG} {
		if err := write(brokenWriter{}, someResults()); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%v", err)
		}
	}
}
