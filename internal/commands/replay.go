// SPDX-License-Identifier: Apache-2.0

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
for each routing policy. It prints the token hit rate of the KV caches, the time
to first token (TTFT), the time per output token (TPOT), and the prompt tokens
that the busiest node computes relative to the mean. kv_aware runs this
gateway's own code.

A trace is a file of JSON lines, gzipped or not; - is standard input. Each line
is a Mooncake request (timestamp, input_length, output_length, hash_ids), a text
(timestamp, input, output, session_id), or a logged request body, bare or in
{"timestamp": ..., "path": ..., "body": ..., "output_tokens": ...}. The command
prints and keeps only numbers of a trace. Rows that are no usable request, such as
those with an empty input, are skipped and counted.

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

// policyList lists all policies, each with its description.
func policyList() string {
	names, docs := replay.Policies()
	for i := range names {
		names[i] += " (" + docs[i] + ")"
	}
	return strings.Join(names, ", ")
}

// replayOptions holds the flags of kv-replay.
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
	f.StringVar(&o.format, "format", "auto", "format of the trace: auto, mooncake, text or bodies")
	f.StringVar(&o.policy, "policy", "all", "policies to compare, separated by commas")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	f.BoolVar(&o.asSVG, "svg", false, "print a chart")
	f.IntVar(&o.setup.Nodes, "nodes", 8, "number of engines")
	f.Float64Var(&o.setup.Speed, "speed", 1, "speed of arrivals relative to the trace")
	f.StringVar(&o.prefillRate, "prefill-rate", "8000", "prompt tokens per second of an engine; a list with commas is repeated over the nodes")
	f.IntVar(&o.kvBlocks, "kv-blocks", 3000, "KV cache of an engine, in blocks of 512 tokens")
	f.IntVar(&m.Chunk, "chunk", m.Chunk, "prompt tokens per prefill step, which also decodes; 0: whole prompts, and no decoding meanwhile")
	f.Float64Var(&m.Noise, "noise", m.Noise, "noise of the true prefill costs: 0.3 for 30 %")
	f.DurationVar(&m.DecodeStep, "decode-step", m.DecodeStep, "base time of a decode step")
	f.DurationVar(&m.DecodePerSequence, "decode-per-sequence", m.DecodePerSequence, "time that each running answer adds to a decode step")
	f.IntVar(&m.MaxRunning, "max-running", m.MaxRunning, "maximum number of requests that an engine runs at a time")
	f.StringVar(&o.capacity, "capacity", "known", "what kv_aware knows of the KV capacity: known, unknown, or a wrong factor, such as 0.5")
	f.BoolVar(&o.setup.KVAware.Usage, "usage", true, "engines report cached tokens to kv_aware")
	f.BoolVar(&o.setup.KVAware.Metrics, "metrics", true, "engines report their load to kv_aware every 2 s")
	f.StringVar(&o.limit, "memory-limit", "20MB", "memory limit of kv_aware's radix tree")
	f.IntVar(&o.read.BlockTokens, "block-tokens", 512, "tokens per hash of a Mooncake trace")
	f.IntVar(&o.read.BlockBytes, "block-size", 256, "bytes of text per block")
	f.DurationVar(&o.timeUnit, "time-unit", 0, "unit of the trace's timestamps, such as 1ms; default: by their size")
	f.Float64Var(&o.read.Rate, "rate", 1, "requests per second of a log without timestamps")
	f.Uint64Var(&o.setup.Seed, "seed", 1, "seed of all random numbers")
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

// parse checks and converts the flags that are text.
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
