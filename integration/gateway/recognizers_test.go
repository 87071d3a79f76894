// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

const (
	scrubbing       = harness.Root + "/docs/scrubbing.md"
	recognizersMark = "-update -->\n"
	recognizersEnd  = "<!-- end of recognizers -->"
)

// The table of recognizers in docs/scrubbing.md is the one in the code.
func TestDocumentedRecognizers(t *testing.T) {
	raw, err := os.ReadFile(scrubbing)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("\n| recognizer | entity | default | finds |\n|---|---|---|---|\n")
	for _, r := range pii.List() {
		on := "off"
		if r.Default {
			on = "on"
		}
		doc := strings.ReplaceAll(strings.Join(strings.Fields(r.Doc), " "), "|", `\|`)
		fmt.Fprintf(&table, "| `%s` | `%s` | %s | %s |\n", r.Name, r.Entity, on, doc)
	}
	table.WriteString("\n")
	before, rest, ok := strings.Cut(string(raw), recognizersMark)
	now, after, ok2 := strings.Cut(rest, recognizersEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table of recognizers", scrubbing)
	}
	if *update {
		out := before + recognizersMark + table.String() + recognizersEnd + after
		if err := os.WriteFile(scrubbing, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if now != table.String() {
		t.Fatalf("the table of recognizers in %s is out of date; go test ./integration/gateway -run DocumentedRecognizers -update writes it", scrubbing)
	}
}
