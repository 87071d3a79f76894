// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

const smallTrace = `{"timestamp": 0, "input_length": 1000, "output_length": 10, "hash_ids": [1, 2]}
{"timestamp": 500, "input_length": 1500, "output_length": 10, "hash_ids": [1, 2, 3]}
`

// runReplay runs the registered command as a user would.
func runReplay(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	registered, ok := caddycmd.Commands()["kv-replay"]
	if !ok {
		t.Fatal("kv-replay is not registered")
	}
	cmd := &cobra.Command{Use: registered.Name, SilenceErrors: true, SilenceUsage: true}
	registered.CobraFunc(cmd)
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	err := cmd.Execute()
	return out.String(), err
}

func TestReplayJSON(t *testing.T) {
	out, err := runReplay(t, smallTrace, "--trace", "-", "--json", "--nodes", "1", "--policy", "kv_aware, round_robin", "--prefill-rate", "1000")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Policies []struct {
			Policy   string             `json:"policy"`
			Requests int                `json:"requests"`
			HitRate  float64            `json:"hit_rate"`
			TTFT     map[string]float64 `json:"ttft_ms"`
			TPOT     float64            `json:"tpot_ms"`
			Busiest  float64            `json:"busiest"`
		} `json:"policies"`
	}
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got.Policies) != 2 || got.Policies[0].Policy != "kv_aware" || got.Policies[1].Policy != "round_robin" {
		t.Fatalf("policies: %+v", got)
	}
	for _, p := range got.Policies {
		// One node prefills 1,000 tokens from 0 to 1 s, then 1,500-1,024 tokens to 1.476 s; the second request arrives at 0.5 s.
		if p.Requests != 2 || p.HitRate != 0.4096 || p.TTFT["mean"] != 988 || p.TTFT["p50"] != 988 || p.Busiest != 1 || p.TPOT <= 0 {
			t.Errorf("%+v", p)
		}
		if len(p.TTFT) != 4 || p.TTFT["p99"] < p.TTFT["p90"] {
			t.Errorf("ttft_ms: %v", p.TTFT)
		}
	}
}

func TestReplayTableAndSVG(t *testing.T) {
	out, err := runReplay(t, smallTrace, "--trace", "-")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kv_aware", "round_robin", "dynamo", "exact *", "pooled *"} {
		if !strings.Contains(out, "\n"+name) {
			t.Errorf("no row for %s in\n%s", name, out)
		}
	}
	svg, err := runReplay(t, smallTrace, "--trace", "-", "--svg")
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal("not XML:", err)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Count(svg, "<polygon") != 12 {
		t.Error("the chart lacks a policy, or has an undefined point")
	}
}

func TestReplayRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "--trace FILE is missing"},
		{[]string{"--trace", "/no/such/file"}, "cannot be opened"},
		{[]string{"--trace", "-", "--json", "--svg"}, "exclude each other"},
		{[]string{"--trace", "-", "--policy", "best"}, "unknown policy: want kv_aware"},
		{[]string{"--trace", "-", "--nodes", "0"}, "nodes: want 1 to 1024"},
		{[]string{"--trace", "-", "--speed", "NaN"}, "speed: want more than 0"},
		{[]string{"--trace", "-", "--prefill-rate", "fast"}, "--prefill-rate: want"},
		{[]string{"--trace", "-", "--prefill-rate", "8000,0"}, "prefill rate: want"},
		{[]string{"--trace", "-", "--kv-blocks", "-3"}, "--kv-blocks: want"},
		{[]string{"--trace", "-", "--capacity", "NaN"}, "--capacity: want"},
		{[]string{"--trace", "-", "--memory-limit", "much"}, "--memory-limit: want"},
		{[]string{"--trace", "-", "--format", "xml"}, "unknown format"},
		{[]string{"--trace", "-", "--noise", "-1"}, "cost noise: want"},
		{[]string{"--trace", "-", "more"}, "unknown command"},
	} {
		out, err := runReplay(t, smallTrace, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
		if out != "" {
			t.Errorf("%v: printed %q", c.args, out)
		}
	}
	if _, err := runReplay(t, "{secret\n", "--trace", "-"); err == nil || !strings.HasPrefix(err.Error(), "line 1: ") || strings.Contains(err.Error(), "secret") {
		t.Errorf("a broken line: %v", err)
	}
}

func TestReplaySkipsUnusableRows(t *testing.T) {
	empty := `{"timestamp": 900, "input_length": 0, "output_length": 10, "hash_ids": []}` + "\n"
	out, err := runReplay(t, empty+smallTrace+"{secret\n", "--trace", "-", "--policy", "round_robin")
	if err != nil || !strings.Contains(out, "2 rows of the trace were skipped, first line 1: token counts") || strings.Contains(out, "secret") {
		t.Errorf("%v: %s", err, out)
	}
}
