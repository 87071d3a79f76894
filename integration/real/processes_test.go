// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"math/rand/v2"
)

const (
	// eventsOffset and replayOffset are the distances from an engine's port to those
	// of its events and its replay.
	eventsOffset, replayOffset = 1000, 2000
	// startPatience bounds the start of an engine, which takes two minutes where two
	// start at a time.
	startPatience = 8 * time.Minute
)

// installed is the folder that install.sh has made.
var installed = os.Getenv("CADDY_KVAWARE_REAL")

// settings are those that engines on a CPU need, and those that save time: fork
// spares each child the imports, and eager code needs no compiler.
var settings = []string{
	"VLLM_TARGET_DEVICE=cpu", "VLLM_CPU_KVCACHE_SPACE=1", "VLLM_CPU_OMP_THREADS_BIND=nobind", "OMP_NUM_THREADS=1", "CUDA_VISIBLE_DEVICES=",
	"VLLM_WORKER_MULTIPROC_METHOD=fork", "TORCHDYNAMO_DISABLE=1", "HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1", "VLLM_SERVER_DEV_MODE=1",
	"PYTHONHASHSEED=0", // so that the recorded block hashes are the same in each run
}

// process is a server beside the gateway, with its children.
type process struct {
	name, log string
	command   *exec.Cmd
	gone      chan struct{}
}

// spawn starts a program of the environment. It ends with the test.
func spawn(t *testing.T, name, program string, args ...string) *process {
	t.Helper()
	p := &process{name: name, log: filepath.Join(t.TempDir(), "log"), gone: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.command = exec.Command(filepath.Join(installed, "venv/bin", program), args...)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.Env = append(withoutBytecodeBan(os.Environ()), settings...)
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		_ = p.command.Wait()
		close(p.gone)
	}()
	t.Cleanup(p.stop)
	return p
}

// withoutBytecodeBan drops the setting that would compile all of Python's files at
// each start.
func withoutBytecodeBan(environment []string) (kept []string) {
	for _, e := range environment {
		if !strings.HasPrefix(e, "PYTHONDONTWRITEBYTECODE=") {
			kept = append(kept, e)
		}
	}
	return kept
}

// stop ends the process and its children, at first politely.
func (p *process) stop() {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(15 * time.Second):
	}
	p.kill()
}

// kill ends the process and its children at once.
func (p *process) kill() {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.gone
}

func (p *process) alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// awaitUp returns once a GET of the URL is answered.
func (p *process) awaitUp(t *testing.T, url string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < startPatience; time.Sleep(300 * time.Millisecond) {
		if !p.alive() {
			t.Fatalf("%s has ended:\n%s", p.name, p.lastLines())
		}
		if answer, err := http.Get(url); err == nil {
			answer.Body.Close()
			return
		}
	}
	t.Fatalf("%s does not come up:\n%s", p.name, p.lastLines())
}

func (p *process) lastLines() string {
	text, err := os.ReadFile(p.log)
	return fmt.Sprintf("%s%v", text[max(0, len(text)-6000):], errors.Join(err))
}

// engine is a real vLLM.
type engine struct {
	*process
	port int
}

// engineOptions holds the options that differ between the engines of the suite.
type engineOptions struct {
	block int
	more  []string
}

// vllm starts an engine, and does not wait until it is up.
func vllm(t *testing.T, name string, port int, o engineOptions) *engine {
	t.Helper()
	args := []string{
		"serve", filepath.Join(installed, "models/tiny"), "--served-model-name", "tiny", "tiny-alias",
		"--host", "127.0.0.1", "--port", fmt.Sprint(port),
		"--dtype", "float32", "--enforce-eager", "--max-model-len", "8192", "--max-num-seqs", "16", "--block-size", fmt.Sprint(o.block),
	}
	return &engine{spawn(t, name, "vllm", append(args, o.more...)...), port}
}

// generating are the options of an engine that generates and publishes events.
func generating(port int) []string {
	return []string{
		"--enable-prefix-caching", "--enable-prompt-tokens-details", "--enable-scale-out", "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
		"--kv-events-config", fmt.Sprintf(`{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://*:%d","replay_endpoint":"tcp://*:%d"}`, port+eventsOffset, port+replayOffset),
	}
}

// adapters are the options for the LoRA adapter of random weights.
func adapters() []string {
	return []string{"--enable-lora", "--max-loras", "1", "--max-lora-rank", "8", "--lora-modules", "tiny-lora=" + filepath.Join(installed, "models/adapter")}
}

func (e *engine) address() string { return fmt.Sprint("127.0.0.1:", e.port) }

func (e *engine) url() string { return "http://" + e.address() }

func (e *engine) awaitUp(t *testing.T) {
	t.Helper()
	e.process.awaitUp(t, e.url()+"/health")
}

// lmcache is LMCache's server beside an engine, with a coordinator.
type lmcache struct {
	server, coordinator          *process
	port, http, coordinatorsPort int
	disk                         string
}

// lmcacheInstance is the name by which the coordinator knows the server.
const lmcacheInstance = "lm1"

// chunkTokens is the size of LMCache's chunks.
const chunkTokens = 64

// startLMCache starts both, and does not wait until they are up.
func startLMCache(t *testing.T, port int) *lmcache {
	t.Helper()
	l := &lmcache{port: port, http: port + 1, coordinatorsPort: port + 2, disk: t.TempDir()}
	l.coordinator = spawn(t, "LMCache's coordinator", "lmcache", "coordinator",
		"--host", "127.0.0.1", "--port", fmt.Sprint(l.coordinatorsPort), "--chunk-size", fmt.Sprint(chunkTokens), "--disable-metrics")
	l.server = spawn(t, "LMCache's server", "lmcache", "server",
		"--host", "127.0.0.1", "--port", fmt.Sprint(l.port), "--http-host", "127.0.0.1", "--http-port", fmt.Sprint(l.http),
		"--chunk-size", fmt.Sprint(chunkTokens), "--l1-size-gb", "0.25", "--eviction-policy", "LRU",
		"--l2-adapter", fmt.Sprintf(`{"type":"fs","base_path":%q}`, l.disk), "--instance-id", lmcacheInstance,
		"--coordinator-url", l.coordinatorURL(), "--coordinator-advertise-ip", "127.0.0.1", "--coordinator-event-reporting", "--coordinator-event-flush-interval", "0.2",
		"--supported-transfer-mode", "auto", "--disable-metrics")
	return l
}

func (l *lmcache) awaitUp(t *testing.T) {
	t.Helper()
	l.coordinator.awaitUp(t, l.coordinatorURL()+"/healthz")
	l.server.awaitUp(t, l.url()+"/healthcheck")
}

func (l *lmcache) url() string { return fmt.Sprint("http://127.0.0.1:", l.http) }

func (l *lmcache) coordinatorURL() string { return fmt.Sprint("http://127.0.0.1:", l.coordinatorsPort) }

// connector returns the options of an engine that uses this LMCache.
func (l *lmcache) connector() []string {
	return []string{"--kv-transfer-config", fmt.Sprintf(`{"kv_connector":"LMCacheMPConnector","kv_role":"kv_both",`+
		`"kv_connector_extra_config":{"lmcache.mp.host":"tcp://127.0.0.1","lmcache.mp.port":%d}}`, l.port)}
}

// freePorts returns a port so that it, the count-1 next ones and those at the
// offsets of events and replay are free, outside the range from which the kernel
// picks ports.
func freePorts(t *testing.T, count int) int {
	t.Helper()
	for range 100 {
		first := 15_000 + rand.IntN(12_000)
		if free(first, count) && free(first+eventsOffset, count) && free(first+replayOffset, count) {
			return first
		}
	}
	t.Fatal("no ports are free")
	return 0
}

func free(first, count int) bool {
	for port := first; port < first+count; port++ {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
