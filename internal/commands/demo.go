// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "kv-demo",
		Usage: "[--once]",
		Short: "Shows cache-aware routing on simulated engines",
		Long: `
Starts two equal fleets of simulated engines and a gateway in this process, and
drives the same multi-turn workload of questions about documents through
kv_aware on one fleet and round_robin on the other. It shows progress, ends in
a table of hit rate and time to first token, and then goes on serving, so that
you can send requests of your own; with --once it exits instead.

The engines have no model. They are simulations of a vLLM node's prefix cache,
prefill queue and HTTP API; what they answer is made up. Nothing is written to
disk, and nothing is listened on but the loopback interface.`,
		CobraFunc: func(cmd *cobra.Command) {
			once := cmd.Flags().Bool("once", false, "exit after the table")
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
				return runDemo(demo{scale: fullDemo, once: *once, out: os.Stdout, interactive: isTerminal(os.Stdout)})
			})
		},
	})
}

// demo is one run of the command.
type demo struct {
	scale       scale
	once        bool
	out         io.Writer
	interactive bool // out is a terminal: progress redraws one line
	ready       func(urls []string)
}

// curlBody is a request to try.
const curlBody = `{"model":"sim","messages":[{"role":"user","content":"Write to jane.doe@example.com"}]}`

// policies are compared side by side, each in front of a fleet of its own.
var demoPolicies = []string{"kv_aware", "round_robin"}

func runDemo(d demo) (int, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fleets, err := startEngines(d.scale)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer fleets.close()
	urls, err := startGateway(fleets)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer caddy.Stop()

	w := newWorkload(d.scale)
	fmt.Fprintf(d.out, "%d questions in %d conversations about %d documents of about %d tokens, to %d simulated engines\n"+
		"for each policy: %.0f prefill tokens/s, room for %d tokens each. This takes about %.0f s.\n\n",
		w.turns, len(w.conversations), d.scale.documents, d.scale.documentTokens, d.scale.engines,
		d.scale.prefillRate, d.scale.cacheTokens, d.scale.spread.Seconds()+5)
	runs := make([]*demoRun, len(demoPolicies))
	for i := range demoPolicies {
		runs[i] = newDemoRun(urls[i])
	}
	drive(ctx, w, runs, d.progressInterval(), func() { d.progress(w, runs) })
	if d.interactive {
		fmt.Fprint(d.out, "\r\033[K")
	}
	if ctx.Err() != nil {
		return caddy.ExitCodeSuccess, nil
	}
	d.table(runs, fleets)
	if failed := runs[0].failures() + runs[1].failures(); failed > 0 {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("%d requests failed", failed)
	}
	if d.ready != nil {
		d.ready(urls)
	}
	if d.once {
		return caddy.ExitCodeSuccess, nil
	}
	fmt.Fprintf(d.out, "\nThe gateway goes on serving (Ctrl-C ends it). Try it; the engine says what it was sent:\n\n"+
		"  curl -s %s/v1/chat/completions -d '%s'\n\n", urls[0], curlBody)
	<-ctx.Done()
	return caddy.ExitCodeSuccess, nil
}

// progress shows how far the runs are: one line that is redrawn on a terminal,
// one line every few seconds elsewhere.
func (d demo) progress(w *workload, runs []*demoRun) {
	line := ""
	for i, r := range runs {
		done, p50, _ := r.summary()
		line += fmt.Sprintf("%-12s%3d of %d, TTFT p50 %5d ms    ", demoPolicies[i], done, w.turns, p50.Milliseconds())
	}
	if d.interactive {
		fmt.Fprintf(d.out, "\r\033[K%s", line)
		return
	}
	fmt.Fprintln(d.out, line)
}

// table shows what came out.
func (d demo) table(runs []*demoRun, fleets *demoEngines) {
	t := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "policy\thit rate\tTTFT p50\tTTFT p95\t")
	for i, r := range runs {
		_, p50, p95 := r.summary()
		fmt.Fprintf(t, "%s\t%.0f %%\t%d ms\t%d ms\t\n", demoPolicies[i], 100*fleets.hitRate(i), p50.Milliseconds(), p95.Milliseconds())
	}
	t.Flush()
	fmt.Fprintln(d.out, "\nhit rate: cached / prompt tokens, told by the engines. TTFT: time to first token, seen by the client.")
}

// isTerminal reports whether a file is a terminal.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// progressInterval is how often progress is shown.
func (d demo) progressInterval() time.Duration {
	if d.interactive {
		return 250 * time.Millisecond
	}
	return 5 * time.Second
}
