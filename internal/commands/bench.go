// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/bauxite/caddy-kvaware/internal/replay"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "kv-bench",
		Usage: "--url URL [--compare URL2] [--trace FILE] [--json]",
		Short: "Measures TTFT, TPOT and cached tokens of an OpenAI-compatible endpoint",
		Long: `
Sends chat requests to an OpenAI-compatible endpoint, which is a gateway or an
engine, and measures the streamed answers as a client: the time to first token
(TTFT: the first piece of content, reasoning or a tool call), the time per
output token (TPOT), and the cached prompt tokens that the engine reports (vLLM:
--enable-prompt-tokens-details).

Without --trace it generates conversations that begin with the same system
prompt and grow from turn to turn. With --trace (see kv-replay for the formats)
it sends requests at the recorded times. Their prompts have the recorded lengths
and shared prefixes, but generated words: only numbers of a trace leave the
machine. A conversation's next request waits for the previous answer.

With --compare a second endpoint gets the same requests after the first one, with
other words, so that neither benefits from the other's prompts in a shared cache.
Ctrl-C ends the run and prints the results so far.`,
		CobraFunc: func(cmd *cobra.Command) {
			o := benchOptions{}
			o.flags(cmd)
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error {
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
				defer stop()
				return o.run(ctx, cmd.InOrStdin(), cmd.OutOrStdout())
			}
		},
	})
}

// benchOptions holds the flags of kv-bench.
type benchOptions struct {
	url, compare, model, keyEnv string
	trace, format               string
	asJSON                      bool
	limit, concurrency          int
	maxTokens                   int
	speed                       float64
	timeout                     time.Duration
	sessions                    sessionOptions
	seed                        uint64
}

func (o *benchOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.url, "url", "", "endpoint, such as http://127.0.0.1:8080")
	f.StringVar(&o.compare, "compare", "", "a second endpoint, measured after the first")
	f.StringVar(&o.model, "model", "", "model of the requests; default: the first that the endpoint lists")
	f.StringVar(&o.keyEnv, "api-key-env", "", "environment variable that holds the API key")
	f.StringVar(&o.trace, "trace", "", "trace file, - for standard input; default: generated conversations")
	f.StringVar(&o.format, "format", "auto", "format of the trace: auto, mooncake, text or bodies")
	f.Float64Var(&o.speed, "speed", 1, "speed of arrivals relative to the trace")
	f.IntVar(&o.limit, "requests", 1000, "maximum number of requests to each endpoint")
	f.IntVar(&o.concurrency, "concurrency", 64, "maximum number of requests at a time; further ones wait and count as late")
	f.IntVar(&o.maxTokens, "max-tokens", 0, "maximum tokens of an answer; default: as recorded, 64 for generated conversations")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "timeout of one request")
	f.IntVar(&o.sessions.sessions, "sessions", 20, "number of generated conversations")
	f.IntVar(&o.sessions.turns, "turns", 6, "requests per generated conversation")
	f.IntVar(&o.sessions.prompt, "prompt-tokens", 2000, "tokens of a conversation's first prompt; all share its first half")
	f.IntVar(&o.sessions.turn, "turn-tokens", 300, "tokens that each further request adds")
	f.Float64Var(&o.sessions.rate, "rate", 2, "generated requests per second")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	f.Uint64Var(&o.seed, "seed", 1, "seed of all random numbers")
}

var (
	errNoURL       = errors.New("--url is missing")
	errURL         = errors.New("want http://HOST or https://HOST, optionally with a path, without user, query and fragment")
	errBenchLimit  = errors.New("--requests: want 1 to 100000")
	errConcurrency = errors.New("--concurrency: want 1 to 4096")
	errMaxTokens   = errors.New("--max-tokens: want 0 to 1000000")
	errBenchSpeed  = errors.New("--speed: want more than 0, at most 1000000")
	errTimeout     = errors.New("--timeout: want more than 0")
	errKeyEnv      = errors.New("--api-key-env: that environment variable is not set")
	errNoAnswer    = errors.New("no request was answered")
)

func (o *benchOptions) run(ctx context.Context, in io.Reader, out io.Writer) error {
	targets, err := o.targets()
	if err != nil {
		return err
	}
	work, err := o.workload(in)
	if err != nil {
		return err
	}
	var results []benchResult
	for i, t := range targets {
		if ctx.Err() != nil {
			break
		}
		if err := t.chooseModel(ctx, o.model); err != nil {
			return fmt.Errorf("%s: %w", t.base, err)
		}
		results = append(results, work.drive(ctx, t, uint64(i)))
	}
	if o.asJSON {
		err = writeBenchJSON(out, results, work.trace.Skipped)
	} else {
		err = writeBenchTable(out, results, work.trace.Skipped)
	}
	if err != nil {
		return err
	}
	for i := range results {
		if results[i].requests == 0 && ctx.Err() == nil {
			return errNoAnswer
		}
	}
	return nil
}

// targets checks the flags and returns the endpoints to measure.
func (o *benchOptions) targets() (targets []*benchTarget, err error) {
	switch {
	case o.url == "":
		return nil, errNoURL
	case o.limit < 1 || o.limit > 100_000:
		return nil, errBenchLimit
	case o.concurrency < 1 || o.concurrency > 4096:
		return nil, errConcurrency
	case o.maxTokens < 0 || o.maxTokens > 1_000_000:
		return nil, errMaxTokens
	case !(o.speed > 0 && o.speed <= 1e6):
		return nil, errBenchSpeed
	case o.timeout <= 0:
		return nil, errTimeout
	}
	key := ""
	if o.keyEnv != "" {
		if key = os.Getenv(o.keyEnv); key == "" {
			return nil, errKeyEnv
		}
	}
	for flag, address := range map[string]string{"--url": o.url, "--compare": o.compare} {
		if address == "" {
			continue
		}
		t, err := newBenchTarget(address, key, o.concurrency, o.timeout)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		if targets = append(targets, t); flag == "--url" && len(targets) == 2 {
			targets[0], targets[1] = targets[1], targets[0]
		}
	}
	return targets, nil
}

// workload reads the trace, or generates conversations.
func (o *benchOptions) workload(in io.Reader) (*benchWork, error) {
	w := &benchWork{speed: 1, seed: o.seed}
	var err error
	if o.trace == "" {
		w.trace, err = o.sessions.trace(o.seed)
	} else {
		w.speed = o.speed
		r := replayOptions{trace: o.trace, read: replay.ReadOptions{Format: replay.Format(o.format), Seed: o.seed}}
		w.trace, err = r.open(in)
	}
	if err != nil {
		return nil, err
	}
	w.trace.Requests = w.trace.Requests[:min(len(w.trace.Requests), o.limit)]
	for i := range w.trace.Requests {
		r := &w.trace.Requests[i]
		if r.Tokens > maxBenchPrompt {
			return nil, errLongPrompt
		}
		if o.maxTokens > 0 {
			r.Output = min(r.Output, o.maxTokens)
		}
	}
	return w, nil
}
