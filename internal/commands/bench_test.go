// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// runBench runs the registered command as a user would.
func runBench(ctx context.Context, t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	registered, ok := caddycmd.Commands()["kv-bench"]
	if !ok {
		t.Fatal("kv-bench is not registered")
	}
	cmd := &cobra.Command{Use: registered.Name, SilenceErrors: true, SilenceUsage: true}
	registered.CobraFunc(cmd)
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	err := cmd.ExecuteContext(ctx)
	return out.String(), err
}

func benchEngine(t *testing.T, config enginesim.Config) *enginesim.Engine {
	t.Helper()
	e, err := enginesim.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// decodeBench decodes the output of --json strictly.
func decodeBench(t *testing.T, out string) []benchJSON {
	t.Helper()
	var got struct {
		Endpoints []benchJSON `json:"endpoints"`
	}
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return got.Endpoints
}

// The measurements agree with the engines' own counters.
func TestBenchMeasures(t *testing.T) {
	slow := benchEngine(t, enginesim.Config{PrefillRate: 20_000, Models: []string{"first", "second"}})
	quick := benchEngine(t, enginesim.Config{PrefillRate: 1_000_000, HidePromptDetails: true})
	out, err := runBench(t.Context(), t, "", "--url", slow.URL(), "--compare", quick.URL()+"/v1/", "--json",
		"--sessions", "4", "--turns", "3", "--prompt-tokens", "2000", "--turn-tokens", "100", "--rate", "50", "--max-tokens", "5")
	if err != nil {
		t.Fatal(err)
	}
	got := decodeBench(t, out)
	if len(got) != 2 || got[0].URL != slow.URL() || got[1].URL != quick.URL()+"/v1" {
		t.Fatalf("%+v", got)
	}
	for i, e := range []*enginesim.Engine{slow, quick} {
		if got[i].Requests != 12 || len(got[i].Failed) != 0 || e.Stats().Served != 12 {
			t.Errorf("%+v, the engine has served %d", got[i], e.Stats().Served)
		}
		if ttft := got[i].TTFT; ttft["mean"] <= 0 || ttft["p50"] > ttft["p90"] || ttft["p90"] > ttft["p99"] || got[i].TPOT <= 0 {
			t.Errorf("times: %+v", got[i])
		}
	}
	if got[1].HitRate != nil || got[1].Cached != 0 {
		t.Errorf("a hit rate where none was reported: %+v", got[1])
	}
	s := slow.Stats()
	if got[0].HitRate == nil || got[0].Cached != s.CachedTokens || got[0].Prompt != s.PromptTokens {
		t.Errorf("%+v, the engine: %+v", got[0], s)
	}
	// 12 prompts of 2,000 to 2,200 tokens in 4 conversations: later prompts are
	// cached, and half of each first one.
	if *got[0].HitRate < 0.7 || s.PromptTokens < 12*1900 || s.PromptTokens > 12*2300 {
		t.Errorf("hit rate %.2f of %d tokens", *got[0].HitRate, s.PromptTokens)
	}
	// The first prompt takes 100 ms, because nothing is cached.
	if got[0].TTFT["p99"] < 95 {
		t.Errorf("TTFT p99 %.1f ms at 20,000 tokens/s", got[0].TTFT["p99"])
	}
	for _, served := range slow.Served() {
		if served.Model != "first" || served.OutputTokens > 5 {
			t.Errorf("%+v", served)
		}
	}
}

// A trace gives lengths, times and shared prefixes, but no words.
func TestBenchSendsATrace(t *testing.T) {
	e := benchEngine(t, enginesim.Config{Speed: 50, Record: 10})
	out, err := runBench(t.Context(), t, smallTrace, "--url", e.URL(), "--trace", "-", "--speed", "10", "--model", "m")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "endpoint") || !strings.Contains(out, e.URL()) || strings.Contains(out, "failed 1") {
		t.Errorf("the table:\n%s", out)
	}
	served := e.Served()
	if len(served) != 2 {
		t.Fatalf("%d requests", len(served))
	}
	for i, tokens := range []int{1000, 1500} {
		if got := served[i].PromptTokens; got < tokens || got > tokens+50 {
			t.Errorf("request %d has %d tokens, want %d", i, got, tokens)
		}
	}
	// They share two blocks of 512 tokens, of which the first is 1000 long.
	if got := served[1].CachedTokens; got < 900 || got > 1024 {
		t.Errorf("%d tokens cached", got)
	}
	text := `{"timestamp":1,"input":"the secret words of somebody","output":"x"}`
	if _, err := runBench(t.Context(), t, text, "--url", e.URL(), "--trace", "-"); err != nil {
		t.Fatal(err)
	}
	for _, r := range e.Received() {
		if bytes.Contains(r.Body, []byte("secret")) {
			t.Fatal("words of the trace were sent")
		}
	}
}

// Neither endpoint benefits from the other's prompts, even if both lead to the
// same engine.
func TestBenchComparesWithOtherWords(t *testing.T) {
	e := benchEngine(t, enginesim.Config{Speed: 50})
	out, err := runBench(t.Context(), t, "", "--url", e.URL(), "--compare", e.URL(), "--json", "--sessions", "3", "--turns", "1", "--prompt-tokens", "640", "--rate", "1000")
	if err != nil {
		t.Fatal(err)
	}
	got := decodeBench(t, out)
	if len(got) != 2 || got[0].HitRate == nil || got[1].HitRate == nil || *got[1].HitRate > 0.5 {
		t.Fatalf("%s", out)
	}
}

func TestBenchTurnsWaitForEachOther(t *testing.T) {
	e := benchEngine(t, enginesim.Config{PrefillRate: 10_000})
	// All arrive at once, but turns of one conversation wait for each other.
	out, err := runBench(t.Context(), t, "", "--url", e.URL(), "--json", "--sessions", "1", "--turns", "4", "--prompt-tokens", "1000", "--rate", "100000", "--max-tokens", "1")
	if err != nil {
		t.Fatal(err)
	}
	if got := decodeBench(t, out)[0]; got.Requests != 4 || got.HitRate == nil || *got.HitRate < 0.5 {
		t.Errorf("%+v: a turn was sent before the previous answer ended", got)
	}
}

func TestBenchCountsFailures(t *testing.T) {
	status := http.StatusServiceUnavailable
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer of-good-news" {
			status = http.StatusUnauthorized
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, `{"error":{"message":"the secret reason"}}`)
	}))
	defer s.Close()
	t.Setenv("BENCH_TEST_KEY", "of-good-news")
	common := []string{"--url", s.URL, "--model", "m", "--sessions", "3", "--turns", "1", "--rate", "1000", "--api-key-env", "BENCH_TEST_KEY"}
	out, err := runBench(t.Context(), t, "", common...)
	if !errors.Is(err, errNoAnswer) || !strings.Contains(out, "failed 3 times: status 503") || strings.Contains(out, "secret") {
		t.Errorf("%v\n%s", err, out)
	}
	status = http.StatusOK // but no stream
	out, err = runBench(t.Context(), t, "", append(common, "--json")...)
	if got := decodeBench(t, out); !errors.Is(err, errNoAnswer) || got[0].Failed[errNoStream.Error()] != 3 {
		t.Errorf("%v\n%s", err, out)
	}
	s.Close()
	out, _ = runBench(t.Context(), t, "", common...)
	if !strings.Contains(out, "failed 3 times: "+errUnreachable.Error()) {
		t.Errorf("no listener:\n%s", out)
	}
}

// An error in a stream and a stream without an end are no answers, whatever came
// before.
func TestBenchCountsBrokenStreams(t *testing.T) {
	const token = `data: {"choices":[{"index":0,"delta":{"content":"x"}}]}` + "\n\n"
	const inStream = `data: {"error":{"message":"the secret reason"}}` + "\n\n"
	for _, c := range []struct {
		stream string
		aborts bool
		want   error
	}{
		{token + inStream + "data: [DONE]\n\n", false, errInStream},
		{inStream, false, errInStream},
		{token + inStream, true, errInStream}, // as this gateway ends a cut stream
		{token, true, errUnreachable},
		{token, false, errCut},
		{": comment\n\n", false, errNoStream},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, c.stream)
			w.(http.Flusher).Flush()
			if c.aborts {
				panic(http.ErrAbortHandler)
			}
		}))
		out, err := runBench(t.Context(), t, "", "--url", s.URL, "--model", "m", "--sessions", "2", "--turns", "1", "--rate", "1000", "--json")
		s.Close()
		if !errors.Is(err, errNoAnswer) || strings.Contains(out, "secret") {
			t.Errorf("%q: %v\n%s", c.stream, err, out)
			continue
		}
		if got := decodeBench(t, out); got[0].Failed[c.want.Error()] != 2 || len(got[0].Failed) != 1 {
			t.Errorf("%q: failed %v, want %v", c.stream, got[0].Failed, c.want)
		}
	}
}

func TestBenchGivesUpOnTheSlow(t *testing.T) {
	e := benchEngine(t, enginesim.Config{PrefillRate: 1})
	out, err := runBench(t.Context(), t, "", "--url", e.URL(), "--json", "--sessions", "1", "--turns", "1", "--timeout", "200ms")
	if got := decodeBench(t, out); !errors.Is(err, errNoAnswer) || got[0].Failed[errSlow.Error()] != 1 {
		t.Errorf("%v\n%s", err, out)
	}
}

// Ctrl-C ends the context: the results so far are printed, without an error.
func TestBenchPrintsPartialResults(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int32
	e := benchEngine(t, enginesim.Config{PrefillRate: 1_000_000, DecodeRate: 1000, Responder: func(enginesim.Request) enginesim.Reply {
		if asked.Add(1) == 20 {
			cancel()
		}
		return enginesim.Reply{Text: "Yes."}
	}})
	out, err := runBench(ctx, t, "", "--url", e.URL(), "--compare", e.URL(), "--json", "--sessions", "100", "--turns", "100", "--rate", "20", "--max-tokens", "2")
	if err != nil {
		t.Fatal(err)
	}
	if got := decodeBench(t, out); len(got) != 1 || got[0].Requests < 1 || got[0].Requests > 100 || len(got[0].Failed) != 0 {
		t.Errorf("%s", out)
	}
}

func TestBenchRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "--url is missing"},
		{[]string{"--url", "localhost:8080"}, "--url: want http://HOST"},
		{[]string{"--url", "http://u:p@h"}, "--url: want http://HOST"},
		{[]string{"--url", "http://h", "--compare", "ftp://h"}, "--compare: want http://HOST"},
		{[]string{"--url", "http://h", "--requests", "0"}, "--requests: want"},
		{[]string{"--url", "http://h", "--concurrency", "5000"}, "--concurrency: want"},
		{[]string{"--url", "http://h", "--max-tokens", "-1"}, "--max-tokens: want"},
		{[]string{"--url", "http://h", "--speed", "NaN"}, "--speed: want"},
		{[]string{"--url", "http://h", "--timeout", "0s"}, "--timeout: want"},
		{[]string{"--url", "http://h", "--sessions", "0"}, "--sessions and --turns: want"},
		{[]string{"--url", "http://h", "--prompt-tokens", "0"}, "--prompt-tokens and --turn-tokens: want"},
		{[]string{"--url", "http://h", "--rate", "-1"}, "--rate: want"},
		{[]string{"--url", "http://h", "--api-key-env", "NO_SUCH_VARIABLE"}, "not set"},
		{[]string{"--url", "http://h", "--trace", "/no/such/file"}, "cannot be opened"},
		{[]string{"--url", "http://127.0.0.1:1"}, "cannot be reached"},
	} {
		out, err := runBench(t.Context(), t, "", c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
		if out != "" {
			t.Errorf("%v: printed %q", c.args, out)
		}
	}
}
