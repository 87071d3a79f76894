// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bufio"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sharedDir holds labelled rows of public test tables beside the repository.
// The tests that need them are skipped where it is missing.
const sharedDir = "../../../shared/pii"

// readRows decodes a file of one JSON object a line.
func readRows[T any](t *testing.T, name string) []T {
	t.Helper()
	f, err := os.Open(filepath.Join(sharedDir, name))
	if err != nil {
		t.Skip("no labelled rows here")
	}
	defer f.Close()
	var rows []T
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var row T
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rows = append(rows, row)
	}
	return rows
}

// tally counts values that were to be found and those that were.
type tally struct{ want, got int }

func (c *tally) add(hit bool) {
	c.want++
	if hit {
		c.got++
	}
}

// atLeast fails the test when fewer than percent of the values were found.
func (c tally) atLeast(t *testing.T, what string, percent float64) {
	t.Helper()
	if c.want == 0 {
		t.Errorf("%s: no rows", what)
		return
	}
	share := 100 * float64(c.got) / float64(c.want)
	t.Logf("%-22s %4d of %4d found: %.1f %%", what, c.got, c.want, share)
	if share < percent {
		t.Errorf("%s: %.1f %% found, want %.0f %%", what, share, percent)
	}
}

// covered tells whether a finding of one of the entities covers text[start:end].
func covered(spans []Span, start, end int, entities ...Entity) bool {
	for _, sp := range spans {
		for _, e := range entities {
			if sp.Entity == e && sp.Start <= start && sp.End >= end {
				return true
			}
		}
	}
	return false
}

type piiRow struct {
	Source, Entity, Kind, Text string
	Spans                      []struct {
		Value string
	}
}

// notPublic tells whether an IP row is one the default set leaves by design.
func notPublic(value string) bool {
	a, err := netip.ParseAddr(strings.Split(value, "%")[0])
	return err != nil || !public(a)
}

func TestRecallOfRows(t *testing.T) {
	s := scanner(t, Options{})
	counts := map[string]*tally{}
	for _, row := range readRows[piiRow](t, "pii.jsonl") {
		if row.Kind != "pos" || row.Entity == "URL" {
			continue
		}
		name := row.Entity
		if name == "PHONE" {
			name += "/" + row.Source
		}
		spans := s.Scan([]byte(row.Text), nil)
		from := 0
		for _, sp := range row.Spans {
			i := strings.Index(row.Text[from:], sp.Value)
			if i < 0 {
				t.Fatalf("row without its value: %q", row.Text)
			}
			start := from + i
			from = start + len(sp.Value)
			if row.Entity == "IP" && notPublic(sp.Value) {
				continue
			}
			if counts[name] == nil {
				counts[name] = &tally{}
			}
			hit := covered(spans, start, from, Entity(row.Entity))
			counts[name].add(hit)
			if !hit {
				t.Logf("missed %s %q in %q: %q", row.Entity, sp.Value, row.Text, found(s, row.Text))
			}
		}
	}
	for entity, percent := range map[string]float64{
		"EMAIL": 99, "CARD": 99, "IBAN": 99, "IP": 99, "SSN": 99, "MAC": 0, "PHONE/presidio": 0, "PHONE/validator.js": 0,
	} {
		if counts[entity] != nil {
			counts[entity].atLeast(t, entity, percent)
			delete(counts, entity)
		}
	}
	for entity, c := range counts {
		c.atLeast(t, entity, 0)
	}
}

func TestNegativeRows(t *testing.T) {
	s := scanner(t, Options{})
	for _, row := range readRows[piiRow](t, "pii.jsonl") {
		if row.Kind == "neg" {
			if got := found(s, row.Text); got != nil {
				t.Logf("%s neg %q: %q", row.Entity, row.Text, got)
			}
		}
		if row.Kind == "neg_wholestring" && row.Entity != "PHONE" {
			for _, sp := range s.Scan([]byte(row.Text), nil) {
				if sp.Start == 0 && sp.End == len(row.Text) {
					t.Logf("%s wholestring %q: %s", row.Entity, row.Text, sp.Entity)
				}
			}
		}
	}
}

type sentenceRow struct {
	Text  string
	Spans []struct {
		Canon     *string
		Type      string
		ByteStart int `json:"byte_start"`
		ByteEnd   int `json:"byte_end"`
		Value     string
	}
}

func TestSentences(t *testing.T) {
	s := scanner(t, Options{})
	counts := map[string]*tally{}
	size, false_ := 0, 0
	for _, row := range readRows[sentenceRow](t, "sentences.jsonl") {
		size += len(row.Text)
		spans := s.Scan([]byte(row.Text), nil)
		for _, gold := range row.Spans {
			if gold.Canon == nil || *gold.Canon == "URL" {
				continue
			}
			name := *gold.Canon
			if name == "IP" && notPublic(gold.Value) {
				continue
			}
			entity := Entity(name)
			if name == "US_DRIVER_LICENSE" {
				entity = "DRIVER_LICENSE"
			}
			if counts[name] == nil {
				counts[name] = &tally{}
			}
			hit := covered(spans, gold.ByteStart, gold.ByteEnd, entity)
			counts[name].add(hit)
			if !hit {
				t.Logf("missed %s %q in %q: %q", name, gold.Value, row.Text, found(s, row.Text))
			}
		}
		for _, sp := range spans {
			inGold := false
			for _, gold := range row.Spans {
				inGold = inGold || sp.Start < gold.ByteEnd && gold.ByteStart < sp.End
			}
			if !inGold {
				false_++
				t.Logf("false %s %q in %q", sp.Entity, row.Text[sp.Start:sp.End], row.Text)
			}
		}
	}
	for name, percent := range map[string]float64{"EMAIL": 99, "CARD": 99, "IBAN": 99, "SSN": 99, "IP": 99, "PHONE": 95, "US_DRIVER_LICENSE": 0} {
		counts[name].atLeast(t, name, percent)
	}
	t.Logf("%d false in %d bytes", false_, size)
	if limit := size / 100_000; false_ > limit {
		t.Errorf("%d false findings outside the gold spans, want at most %d", false_, limit)
	}
}

func TestBenign(t *testing.T) {
	s := scanner(t, Options{})
	for _, row := range readRows[struct{ ID, Text string }](t, "benign.jsonl") {
		if got := found(s, row.Text); got != nil {
			t.Errorf("%s %q: %q", row.ID, row.Text, got)
		}
	}
}

type secretRow struct {
	Source, Rule, Kind, Text string
	Secrets                  []string
}

func TestSecretRows(t *testing.T) {
	s := scanner(t, Options{})
	counts := map[string]*tally{}
	for _, row := range readRows[secretRow](t, "secrets.jsonl") {
		spans := s.Scan([]byte(row.Text), nil)
		name := row.Source + "/" + row.Kind
		if counts[name] == nil {
			counts[name] = &tally{}
		}
		if row.Kind == "fp" || len(row.Secrets) == 0 || row.Secrets[0] == "" {
			any := false
			for _, sp := range spans {
				any = any || sp.Entity.Secret()
			}
			counts[name].add(any)
			if any != (row.Kind == "tp") {
				t.Logf("%s %s %q: %q", name, row.Rule, row.Text, found(s, row.Text))
			}
			continue
		}
		for _, secret := range row.Secrets {
			i := strings.Index(row.Text, secret)
			hit := i >= 0 && covered(spans, i, i+len(secret), EntitySecret, EntityJWT, EntityPrivateKey)
			counts[name].add(hit)
			if !hit {
				t.Logf("%s %s %q in %q: %q", name, row.Rule, secret, row.Text, found(s, row.Text))
			}
		}
	}
	for name, c := range counts {
		c.atLeast(t, name, 0)
	}
}
