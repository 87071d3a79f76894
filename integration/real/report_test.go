// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	_ "embed"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

const document = harness.Root + "/docs/compatibility.md"

// elsewhere is the part of the document that no run writes anew: what was seen of
// other engines.
//
//go:embed elsewhere.md
var elsewhere string

// report collects what a run sees.
type report struct {
	began    time.Time
	versions []string
	rows     []string
}

// progress prints a line at once.
func (r *report) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "real: %4.0f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// seen adds a row to the document.
func (r *report) seen(what, format string, args ...any) {
	result := fmt.Sprintf(format, args...)
	r.rows = append(r.rows, fmt.Sprintf("| %s | %s |", what, result))
	r.progress("%s: %s", what, result)
}

// write writes the document.
func (r *report) write(t *testing.T) {
	t.Helper()
	text := fmt.Sprintf(`# Compatibility

What was seen with real engines. `+"`make real`"+` installs them, runs the gateway in front of them on a CPU, and writes this document.

## vLLM and LMCache

Run on %s with %s. The model is a tiny Llama of random weights, so the figures say nothing about speed.

The prediction error is the sum of |predicted - reported cached tokens| over the sum of the prompt tokens, of the requests with something cached or predicted. The others are cold.

| what | seen |
|---|---|
%s

%s`, r.began.UTC().Format("2006-01-02"), strings.Join(r.versions, ", "), strings.Join(r.rows, "\n"), elsewhere)
	if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r.progress("docs/compatibility.md is written")
}
