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
Starts two equal groups of simulated engines and a gateway in this process. It
sends the same conversations about documents through kv_aware to one group and
through round_robin to the other. It shows progress, prints a table of hit rate
and time to first token, and keeps serving, so that you can send requests of
your own; with --once it exits after the table.

The engines have no model. They simulate a vLLM node's prefix cache, prefill
queue and HTTP API, and their answers are made up. The demo writes nothing to
disk and listens on the loopback interface only.`,
		CobraFunc: func(cmd *cobra.Command) {
			once := cmd.Flags().Bool("once", false, "exit after the table")
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
				return runDemo(demo{scale: fullDemo, once: *once, out: os.Stdout, interactive: isTerminal(os.Stdout)})
			})
		},
	})
}

// demo is one run of kv-demo.
type demo struct {
	scale       scale
	once        bool
	out         io.Writer
	interactive bool // out is a terminal: redraw one line of progress
	ready       func(urls []string)
}

// curlBody is the body of the request that the demo suggests.
const curlBody = `{"model":"sim","messages":[{"role":"user","content":"Write to jane.doe@example.com"}]}`

// demoPolicies are compared side by side, each with its own group of engines.
var demoPolicies = []string{"kv_aware", "round_robin"}

func runDemo(d demo) (int, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	engines, err := startEngines(d.scale)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer engines.close()
	urls, err := startGateway(engines)
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
	d.table(runs, engines)
	if failed := runs[0].failures() + runs[1].failures(); failed > 0 {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("%d requests failed", failed)
	}
	if d.ready != nil {
		d.ready(urls)
	}
	if d.once {
		return caddy.ExitCodeSuccess, nil
	}
	fmt.Fprintf(d.out, "\nThe gateway keeps serving (Ctrl-C ends it). Try it; the engine shows the text that it received:\n\n"+
		"  curl -s %s/v1/chat/completions -d '%s'\n\n", urls[0], curlBody)
	<-ctx.Done()
	return caddy.ExitCodeSuccess, nil
}

// progress shows the progress of the runs: on a terminal it redraws one line,
// elsewhere it prints a line every few seconds.
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

// table prints the results.
func (d demo) table(runs []*demoRun, engines *demoEngines) {
	t := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "policy\thit rate\tTTFT p50\tTTFT p95\t")
	for i, r := range runs {
		_, p50, p95 := r.summary()
		fmt.Fprintf(t, "%s\t%.0f %%\t%d ms\t%d ms\t\n", demoPolicies[i], 100*engines.hitRate(i), p50.Milliseconds(), p95.Milliseconds())
	}
	t.Flush()
	fmt.Fprintln(d.out, "\nhit rate: cached / prompt tokens, reported by the engines. TTFT: time to first token, seen by the client.")
}

// isTerminal reports whether a file is a terminal.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// progressInterval is the time between two progress lines.
func (d demo) progressInterval() time.Duration {
	if d.interactive {
		return 250 * time.Millisecond
	}
	return 5 * time.Second
}
