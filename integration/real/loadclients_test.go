// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// The traffic that every load client makes: prompts in groups that share their
// beginning, at a constant rate.
const (
	loadPrompts  = 32
	loadGroups   = 4
	loadRate     = 1   // a second
	loadShared   = 2   // blocks of loadBlock tokens that a group shares
	loadOwn      = 1   // blocks that a prompt has for itself
	loadBlock    = 512 // tokens, as traces of Mooncake have it
	loadOutput   = 8   // tokens
	loadInterval = 1000 / loadRate
)

// loadFigures holds the figures that a load client measures.
type loadFigures struct {
	answers, failed int
	ttft            float64 // milliseconds, the median
	cached, prompt  float64 // tokens, as the engine reports them
}

func (f loadFigures) cachedShare() float64 { return f.cached / f.prompt }

func (f loadFigures) String() string {
	return fmt.Sprintf("%d answers, %d failed, TTFT p50 %.0f ms, %.1f %% cached", f.answers, f.failed, f.ttft, 100*f.cachedShare())
}

// loadRun is a place for the files of one client's run.
type loadRun struct {
	t           *testing.T
	url, folder string
	clients     string // where the clients are installed
}

// loadClient runs one load client and reads its figures.
type loadClient struct {
	name string
	run  func(r *loadRun) loadFigures
}

var loadClients = []loadClient{
	{"kv-bench", (*loadRun).kvBench},
	{"guidellm 0.8.1", (*loadRun).guidellm},
	{"aiperf 0.13.0", (*loadRun).aiperf},
	{"inference-perf 0.7.0", (*loadRun).inferencePerf},
}

// How far a client's figures may be from those of kv-bench. Their words differ, and so
// do their numbers of tokens; the engine's CPU is shared with the client.
const (
	mostOffCached = 0.03
	mostOffTTFT   = 2 // times
)

// measureLoad runs every load client against the gateway, each in front of an empty
// cache, and compares its figures with those of kv-bench.
func (s *suite) measureLoad(t *testing.T) {
	install := exec.Command("./install-loadclients.sh")
	install.Env, install.Stderr = append(harness.GoEnv(), "CADDY_KVAWARE_REAL="+installed), os.Stderr
	folder, err := install.Output()
	if err != nil {
		t.Fatal(err)
	}
	g := gateway(t, []*engine{s.wide}, followEvents())
	var ours loadFigures
	for i, c := range loadClients {
		resetCache(t, s.wide)
		settle(t)
		got := c.run(&loadRun{t, g.URL, t.TempDir(), strings.TrimSpace(string(folder))})
		if i == 0 {
			ours = got
		}
		s.seen("load by "+c.name+fmt.Sprintf(", %d prompts of 1536 tokens in %d groups", loadPrompts, loadGroups), "%v", got)
		if got.answers != loadPrompts || got.failed > 0 {
			t.Errorf("%s: %d answers and %d failures, want %d answers", c.name, got.answers, got.failed, loadPrompts)
		}
		if math.Abs(got.cachedShare()-ours.cachedShare()) > mostOffCached {
			t.Errorf("%s: %.1f %% cached, kv-bench %.1f %%", c.name, 100*got.cachedShare(), 100*ours.cachedShare())
		}
		if got.ttft > mostOffTTFT*ours.ttft || ours.ttft > mostOffTTFT*got.ttft {
			t.Errorf("%s: TTFT p50 %.0f ms, kv-bench %.0f ms", c.name, got.ttft, ours.ttft)
		}
	}
}

// command runs a program until its end.
func (r *loadRun) command(program string, args ...string) []byte {
	r.t.Helper()
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "HF_HOME="+filepath.Join(r.clients, "huggingface"))
	command.Dir = r.folder
	var failure bytes.Buffer
	command.Stderr = &failure
	out, err := command.Output()
	if err != nil {
		r.t.Fatalf("%s: %v: %.3000s %.3000s", filepath.Base(program), err, out, &failure)
	}
	return out
}

// client runs an installed client.
func (r *loadRun) client(name string, args ...string) {
	r.t.Helper()
	r.command(filepath.Join(r.clients, name, "bin", name), args...)
}

// trace writes the traffic as a trace of Mooncake, with its times in seconds divided
// by unit.
func (r *loadRun) trace(unit float64) (path string) {
	r.t.Helper()
	var lines bytes.Buffer
	for i := range loadPrompts {
		group := i % loadGroups
		fmt.Fprintf(&lines, `{"id":"%d","timestamp":%g,"input_length":%d,"output_length":%d,"hash_ids":[%d,%d,%d]}`+"\n",
			i, math.Round(float64(i)*loadInterval)/unit, (loadShared+loadOwn)*loadBlock, loadOutput, 2*group, 2*group+1, 100+i)
	}
	path = filepath.Join(r.folder, "trace.jsonl")
	if err := os.WriteFile(path, lines.Bytes(), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// readResult reads a client's JSON.
func (r *loadRun) readResult(name string, v any) {
	r.t.Helper()
	raw, err := os.ReadFile(filepath.Join(r.folder, name))
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *loadRun) kvBench() (f loadFigures) {
	r.t.Helper()
	binary := filepath.Join(r.folder, "caddy")
	build := exec.Command("go", "build", "-o", binary, "./cmd/caddy")
	build.Dir, build.Env = harness.Root, harness.GoEnv()
	if out, err := build.CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	out := r.command(binary, "kv-bench", "--url", r.url, "--model", "tiny", "--trace", r.trace(1), "--format", "mooncake", "--json")
	var result struct {
		Endpoints []struct {
			Requests int                `json:"requests"`
			Failed   map[string]int     `json:"failed"`
			TTFT     map[string]float64 `json:"ttft_ms"`
			Prompt   float64            `json:"prompt_tokens"`
			Cached   float64            `json:"cached_tokens"`
		} `json:"endpoints"`
	}
	if err := json.Unmarshal(out, &result); err != nil || len(result.Endpoints) != 1 {
		r.t.Fatalf("%v: %.1000s", err, out)
	}
	e := result.Endpoints[0]
	f = loadFigures{answers: e.Requests, ttft: e.TTFT["p50"], cached: e.Cached, prompt: e.Prompt}
	for _, n := range e.Failed {
		f.failed += n
		f.answers -= n
	}
	return f
}

func (r *loadRun) guidellm() (f loadFigures) {
	r.t.Helper()
	r.client("guidellm", "run", "--backend", "kind=openai_http,target="+r.url+",model=tiny", "--profile", "kind=replay",
		"--data", fmt.Sprintf(`{"kind":"mooncake","conversation_id_column":"id","source":{"kind":"json_file","path":%q}}`, r.trace(1000)),
		"--tokenizer", "kind=huggingface_auto,model="+filepath.Join(installed, "models/tiny"), "--disable-progress", "--output", "kind=json,path=result.json")
	var result struct {
		Benchmarks []struct {
			Metrics struct {
				Totals struct{ Successful, Errored, Incomplete int } `json:"request_totals"`
				TTFT   struct {
					Successful struct{ Median float64 }
				} `json:"time_to_first_token_ms"`
			}
			Requests struct {
				Successful []struct {
					Prompt float64 `json:"prompt_tokens"`
					Cached float64 `json:"cached_tokens"`
				}
			}
		}
	}
	r.readResult("result.json", &result)
	b := result.Benchmarks[0]
	f = loadFigures{answers: b.Metrics.Totals.Successful, failed: b.Metrics.Totals.Errored + b.Metrics.Totals.Incomplete, ttft: b.Metrics.TTFT.Successful.Median}
	for _, s := range b.Requests.Successful {
		f.prompt += s.Prompt
		f.cached += s.Cached
	}
	return f
}

func (r *loadRun) aiperf() loadFigures {
	r.t.Helper()
	r.client("aiperf", "profile", "--model", "tiny", "--url", r.url, "--endpoint-type", "chat", "--streaming", "--tokenizer", "local/tiny",
		"--input-file", r.trace(1), "--custom-dataset-type", "mooncake-trace", "--fixed-schedule", "--ui", "none", "--output-artifact-dir", r.folder)
	type value struct{ Avg, P50 float64 }
	var result struct {
		Answers value `json:"request_count"`
		Failed  value `json:"error_request_count"`
		TTFT    value `json:"time_to_first_token"`
		Prompt  value `json:"total_usage_prompt_tokens"`
		Cached  value `json:"total_usage_prompt_cache_read_tokens"`
	}
	r.readResult("profile_export_aiperf.json", &result)
	return loadFigures{int(result.Answers.Avg), int(result.Failed.Avg), result.TTFT.P50, result.Cached.Avg, result.Prompt.Avg}
}

// inferencePerf makes the same groups by itself: it replays no traces of Mooncake.
func (r *loadRun) inferencePerf() loadFigures {
	r.t.Helper()
	config := fmt.Sprintf(`
load: {type: constant, stages: [{rate: %v, duration: %d}]}
api: {type: chat, streaming: true}
server: {type: vllm, model_name: tiny, base_url: %q, ignore_eos: true}
tokenizer: {pretrained_model_name_or_path: %q}
data:
  type: shared_prefix
  shared_prefix: {num_groups: %d, num_prompts_per_group: %d, system_prompt_len: %d, question_len: %d, output_len: %d}
report:
  request_lifecycle: {summary: true, per_stage: false, per_request: false}
storage: {local_storage: {path: %q}}
`, loadRate, int(math.Ceil(loadPrompts/loadRate)), r.url, filepath.Join(installed, "models/tiny"),
		loadGroups, loadPrompts/loadGroups, loadShared*loadBlock, loadOwn*loadBlock, loadOutput, r.folder)
	path := filepath.Join(r.folder, "config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.client("inference-perf", "--config_file", path)
	var result struct {
		Successes struct {
			Count   int
			Latency struct {
				TTFT struct{ Median float64 } `json:"time_to_first_token"`
			}
			Tokens struct{ Cached, Uncached float64 } `json:"prompt_tokens"`
		}
		Failures struct{ Count int }
	}
	r.readResult("summary_lifecycle_metrics.json", &result)
	s := result.Successes
	return loadFigures{s.Count, result.Failures.Count, 1000 * s.Latency.TTFT.Median, s.Tokens.Cached, s.Tokens.Cached + s.Tokens.Uncached}
}
