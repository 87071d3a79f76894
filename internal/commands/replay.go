// SPDX-License-Identifier: Apache-2.0

// Package commands holds the sub-commands that this module adds to Caddy. They
// print to standard output; none writes a file.
package commands

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/bauxite/caddy-kvaware/internal/replay"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "kv-replay",
		Usage: "--trace FILE [--nodes N] [--policy LIST] [--json | --svg]",
		Short: "Replays a trace against simulated engines and compares routing policies",
		Long: `
Replays a trace of LLM requests in virtual time against simulated engines, once
for each routing policy, and prints the token hit rate of the KV caches, the
time to first token (TTFT), the time per output token (TPOT), and how much more
than the mean the busiest node computes. kv_aware is this gateway's own code.

Traces are JSON lines, gzipped or not, FILE or - for standard input: Mooncake's
(timestamp, input_length, output_length, hash_ids), texts (timestamp, input,
output, session_id), or logged request bodies, bare or as {"timestamp": ...,
"path": ..., "body": ..., "output_tokens": ...}. Nothing of a trace is printed
or kept but numbers.

Policies: ` + policyList() + `.
`,
		CobraFunc: func(cmd *cobra.Command) {
			o := replayOptions{}
			o.flags(cmd)
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.run(cmd.InOrStdin(), cmd.OutOrStdout()) }
		},
	})
}

// policyList tells each policy's name and what it is.
func policyList() string {
	names, docs := replay.Policies()
	for i := range names {
		names[i] += " (" + docs[i] + ")"
	}
	return strings.Join(names, ", ")
}

// replayOptions is what kv-replay was asked.
type replayOptions struct {
	trace, policy, format        string
	asJSON, asSVG                bool
	prefillRate, capacity, limit string
	kvBlocks                     int
	timeUnit                     time.Duration
	read                         replay.ReadOptions
	setup                        replay.Setup
}

// kvBlockTokens is the size of the blocks that --kv-blocks counts.
const kvBlockTokens = 512

func (o *replayOptions) flags(cmd *cobra.Command) {
	o.setup = replay.Setup{Model: replay.DefaultModel(), KVAware: replay.DefaultKnowledge()}
	f, m := cmd.Flags(), &o.setup.Model
	f.StringVar(&o.trace, "trace", "", "trace file, - for standard input")
	f.StringVar(&o.format, "format", "auto", "auto, mooncake, text or bodies")
	f.StringVar(&o.policy, "policy", "all", "policies to compare, separated by commas")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	f.BoolVar(&o.asSVG, "svg", false, "print a chart")
	f.IntVar(&o.setup.Nodes, "nodes", 8, "number of engines")
	f.Float64Var(&o.setup.Speed, "speed", 1, "how much faster than recorded requests arrive")
	f.StringVar(&o.prefillRate, "prefill-rate", "8000", "prompt tokens a second an engine computes; a list with commas goes round the nodes")
	f.IntVar(&o.kvBlocks, "kv-blocks", 3000, "KV cache of an engine, in blocks of 512 tokens")
	f.IntVar(&m.Chunk, "chunk", m.Chunk, "prefill in steps of that many tokens, together with decoding; 0: whole prompts, before decoding")
	f.Float64Var(&m.Noise, "noise", m.Noise, "noise of true prefill costs: 0.3 for 30 %")
	f.DurationVar(&m.DecodeStep, "decode-step", m.DecodeStep, "time of a decoding step")
	f.DurationVar(&m.DecodePerSequence, "decode-per-sequence", m.DecodePerSequence, "what each running answer adds to it")
	f.IntVar(&m.MaxRunning, "max-running", m.MaxRunning, "most requests an engine works on at a time")
	f.StringVar(&o.capacity, "capacity", "known", "KV capacity as kv_aware knows it: known, unknown, or a factor it is wrong by, such as 0.5")
	f.BoolVar(&o.setup.KVAware.Usage, "usage", true, "engines report cached tokens to kv_aware")
	f.BoolVar(&o.setup.KVAware.Metrics, "metrics", true, "engines report their load to kv_aware every 2 s")
	f.StringVar(&o.limit, "memory-limit", "20MB", "ceiling of kv_aware's tree")
	f.IntVar(&o.read.BlockTokens, "block-tokens", 512, "tokens a hash of a Mooncake trace stands for")
	f.IntVar(&o.read.BlockBytes, "block-size", 256, "bytes of text in a block")
	f.DurationVar(&o.timeUnit, "time-unit", 0, "unit of the trace's timestamps, such as 1ms; default: told from their size")
	f.Float64Var(&o.read.Rate, "rate", 1, "requests a second where a log has no timestamps")
	f.Uint64Var(&o.setup.Seed, "seed", 1, "of everything random")
}

var (
	errNoTrace    = errors.New("--trace FILE is missing")
	errOpen       = errors.New("--trace: the file cannot be opened")
	errJSONAndSVG = errors.New("--json and --svg exclude each other")
	errRates      = errors.New("--prefill-rate: want tokens a second, such as 8000, or a list of them")
	errKVBlocks   = errors.New("--kv-blocks: want a positive number of blocks")
	errCapacity   = errors.New("--capacity: want known, unknown or a factor such as 0.5")
	errLimit      = errors.New("--memory-limit: want a size such as 20MB")
)

func (o *replayOptions) run(in io.Reader, out io.Writer) error {
	if err := o.parse(); err != nil {
		return err
	}
	trace, err := o.open(in)
	if err != nil {
		return err
	}
	var results []replay.Result
	for _, name := range o.policies() {
		r, err := replay.Run(trace, &o.setup, name)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	switch {
	case o.asJSON:
		return replay.WriteJSON(out, results)
	case o.asSVG:
		return replay.WriteSVG(out, results)
	}
	return replay.WriteTable(out, results)
}

// parse checks what the flags' own types do not.
func (o *replayOptions) parse() error {
	switch {
	case o.trace == "":
		return errNoTrace
	case o.asJSON && o.asSVG:
		return errJSONAndSVG
	case o.kvBlocks < 1 || o.kvBlocks > 1<<30:
		return errKVBlocks
	}
	o.setup.Model.KVTokens = o.kvBlocks * kvBlockTokens
	o.setup.Model.PrefillRates = nil
	for _, field := range strings.Split(o.prefillRate, ",") {
		rate, err := strconv.ParseFloat(strings.TrimSpace(field), 64)
		if err != nil {
			return errRates
		}
		o.setup.Model.PrefillRates = append(o.setup.Model.PrefillRates, rate)
	}
	limit, err := humanize.ParseBytes(o.limit)
	if err != nil || limit > 1<<40 {
		return errLimit
	}
	o.setup.KVAware.MemoryLimit = int64(limit)
	o.read.Format, o.read.TimeUnit, o.read.Seed = replay.Format(o.format), o.timeUnit, o.setup.Seed
	return o.parseCapacity()
}

func (o *replayOptions) parseCapacity() error {
	switch o.capacity {
	case "known":
		o.setup.KVAware.Capacity = 1
	case "unknown":
		o.setup.KVAware.Capacity = 0
	default:
		factor, err := strconv.ParseFloat(o.capacity, 64)
		if err != nil || !(factor > 0) {
			return errCapacity
		}
		o.setup.KVAware.Capacity = factor
	}
	return nil
}

func (o *replayOptions) policies() []string {
	if o.policy == "all" {
		names, _ := replay.Policies()
		return names
	}
	names := strings.Split(o.policy, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

func (o *replayOptions) open(in io.Reader) (*replay.Trace, error) {
	if o.trace != "-" {
		file, err := os.Open(o.trace)
		if err != nil {
			return nil, errOpen
		}
		defer file.Close()
		in = file
	}
	return replay.Read(in, o.read)
}
