// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

func runScan(t *testing.T, in io.Reader, asJSON bool) (out, notes string) {
	t.Helper()
	var o, n bytes.Buffer
	s := scan{in: in, out: &o, json: asJSON, messages: &n}
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
	return o.String(), n.String()
}

const scanned = "nothing here\nwrite to jane.doe@example.com today\r\n\nséance, then bob@example.com"

func TestScanJSON(t *testing.T) {
	out, notes := runScan(t, strings.NewReader(scanned), true)
	want := `{"line":1,"spans":[]}
{"line":2,"spans":[{"entity":"EMAIL","start":9,"end":29}]}
{"line":3,"spans":[]}
{"line":4,"spans":[{"entity":"EMAIL","start":14,"end":29}]}
`
	if out != want {
		t.Fatalf("got\n%swant\n%s", out, want)
	}
	if notes != "" {
		t.Fatalf("beside the JSON: %q", notes)
	}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if !json.Valid([]byte(line)) {
			t.Fatalf("not JSON: %s", line)
		}
	}
}

func TestScanText(t *testing.T) {
	out, notes := runScan(t, strings.NewReader(scanned), false)
	if out != "2: EMAIL 9-29\n4: EMAIL 14-29\n" {
		t.Fatalf("got %q", out)
	}
	if notes != "4 lines, 80 B, EMAIL 2\n" {
		t.Fatalf("summary %q", notes)
	}
	if strings.Contains(out+notes, "@") {
		t.Fatal("a value was printed")
	}
}

func TestScanNothing(t *testing.T) {
	if out, _ := runScan(t, strings.NewReader(""), true); out != "" {
		t.Fatalf("an empty input gives %q", out)
	}
}

func TestScanALineThatIsTooLong(t *testing.T) {
	s := scan{in: io.MultiReader(strings.NewReader("ok\n"), io.LimitReader(endlessText("x"), maxLine+1)), out: io.Discard, messages: io.Discard}
	if err := s.run(); !errors.Is(err, errLongLine) || !strings.Contains(err.Error(), "line 2") {
		t.Fatalf("error %v", err)
	}
}

// endlessText repeats a text without end.
type endlessText string

func (r endlessText) Read(p []byte) (n int, err error) {
	for n < len(p) {
		n += copy(p[n:], r)
	}
	return n, nil
}

// Memory does not grow with the input.
func TestScanIsConstantInMemory(t *testing.T) {
	line := strings.Repeat("Some log text with numbers 12345 and a mail x.y@example.com in it. ", 3) + "\n"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := scan{in: io.LimitReader(endlessText(line), 64<<20), out: io.Discard, json: true, messages: io.Discard}
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if s.read != 64<<20 || s.found[pii.EntityEmail] == 0 {
		t.Fatalf("read %d bytes, found %v", s.read, s.found)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Fatalf("64 MB of input allocated %d bytes", grown)
	}
}

func TestListRecognizers(t *testing.T) {
	var out bytes.Buffer
	if err := listRecognizers(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(pii.List())+1 {
		t.Fatalf("%d lines for %d recognizers", len(lines), len(pii.List()))
	}
	for _, want := range []string{"EMAIL", "CARD", "SECRET", "DEFAULT"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the list lacks %s", want)
		}
	}
}

// TestScanAnswersLineByLine checks that the findings in a line appear before the
// next line arrives.
func TestScanAnswersLineByLine(t *testing.T) {
	in, lines := io.Pipe()
	answers, out := io.Pipe()
	s := scan{in: in, out: out, messages: io.Discard}
	ended := make(chan error, 1)
	go func() { ended <- s.run() }()
	got := bufio.NewReader(answers)
	for n := 1; n <= 3; n++ {
		if _, err := io.WriteString(lines, "bob@example.com\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := got.ReadString('\n'); err != nil || line != fmt.Sprintf("%d: EMAIL 0-15\n", n) {
			t.Fatalf("line %d: %q, %v", n, line, err)
		}
	}
	lines.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
