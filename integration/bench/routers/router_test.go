// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package routers measures the gateway beside other routers, each a process of its
// own as its maker ships it, in front of the same simulated engines.
package routers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

func TestMain(m *testing.M) {
	if err := os.Chdir(".."); err != nil { // the harness finds traces from there
		panic(err)
	}
	harness.Main(m)
}

// router is a kind of router: how to run it at an address in front of engines.
type router struct {
	name    string
	command func(b *testing.B, address string, engines []string) *exec.Cmd
}

// routers run with their makers' defaults. Each gets the engines, an address, and
// nothing else.
var routers = []router{
	{"kv_aware", caddyWith("pii_janitor", "kv_aware")},
	{"smg", installed("smg", "launch")},
	{"vllm-router", installed("vllm-router")},
	{"sglang-router", installed("sglang-router", "launch")},
	{"least_conn", caddyWith("", "least_conn")},
}

// built builds the gateway once.
var built = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "caddy-kvaware-routers")
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "caddy")
	build := exec.Command("go", "build", "-o", path, "./cmd/caddy")
	build.Dir, build.Env = harness.Root, harness.GoEnv()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %s", err, out)
	}
	return path, nil
})

// caddyWith runs our binary with the README's shortest configuration.
func caddyWith(directive, policy string) func(b *testing.B, address string, engines []string) *exec.Cmd {
	return func(b *testing.B, address string, engines []string) *exec.Cmd {
		path, err := built()
		if err != nil {
			b.Fatal(err)
		}
		config := filepath.Join(b.TempDir(), "Caddyfile")
		text := fmt.Sprintf("{\n\tadmin off\n}\nhttp://%s {\n\t%s\n\treverse_proxy %s {\n\t\tlb_policy %s\n\t}\n}\n", address, directive, strings.Join(engines, " "), policy)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		return exec.Command(path, "run", "--config", config, "--adapter", "caddyfile")
	}
}

// commands installs the other routers once, and returns the folder of their commands.
var commands = sync.OnceValues(func() (string, error) {
	install := exec.Command("routers/install.sh")
	install.Env, install.Stderr = harness.GoEnv(), os.Stderr
	out, err := install.Output()
	return strings.TrimSpace(string(out)), err
})

// installed runs a command that install.sh brings.
func installed(name string, args ...string) func(b *testing.B, address string, engines []string) *exec.Cmd {
	return func(b *testing.B, address string, engines []string) *exec.Cmd {
		folder, err := commands()
		if err != nil {
			b.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(address)
		_, metrics, _ := net.SplitHostPort(harness.FreeAddress(b))
		all := append([]string{}, args...)
		all = append(all, "--host", host, "--port", port, "--prometheus-port", metrics, "--log-level", "error", "--worker-urls")
		for _, e := range engines {
			all = append(all, "http://"+e)
		}
		return exec.Command(filepath.Join(folder, name), all...)
	}
}

// running is a router that runs.
type running struct {
	name string
	url  string
	pid  int
	log  *bytes.Buffer
}

// start runs a router until the end of the benchmark, and waits until it has
// answered a chat request.
func (r router) start(b *testing.B, engines []string) *running {
	b.Helper()
	address := harness.FreeAddress(b)
	command := r.command(b, address, engines)
	log := new(bytes.Buffer)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { command.Wait(); close(ended) }() // it is killed, so the error says nothing
	b.Cleanup(func() {
		command.Process.Kill()
		<-ended
	})
	s := &running{name: r.name, url: "http://" + address, pid: command.Process.Pid, log: log}
	s.await(b, ended)
	return s
}

// startTime is the longest that a router may take to start.
const startTime = time.Minute

func (s *running) await(b *testing.B, ended <-chan struct{}) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), startTime)
	defer cancel()
	for ctx.Err() == nil {
		if ok, _ := s.chat(http.DefaultClient, harness.Chat("Are you there?", true)); ok {
			return
		}
		select {
		case <-ended:
			b.Fatalf("%s ended: %.2000s", s.name, s.log)
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	b.Fatalf("%s does not answer after %v", s.name, startTime)
}

// chat sends a streamed chat request. It reports whether the answer came whole, and
// the status, 0 for none.
func (s *running) chat(client *http.Client, body string) (whole bool, status int) {
	answer, err := client.Post(s.url+harness.ChatPath, "application/json", strings.NewReader(body))
	if err != nil {
		return false, 0
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	whole = err == nil && answer.StatusCode == http.StatusOK && !bytes.Contains(text, []byte(`"error"`)) &&
		(bytes.Contains(text, []byte("[DONE]")) || bytes.Contains(text, []byte(`"finish_reason":"stop"`)))
	return whole, answer.StatusCode
}

// clockTick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux that Go
// runs on.
const clockTick = 10 * time.Millisecond

// cpu returns the CPU time that the router has used.
func (s *running) cpu(b *testing.B) time.Duration {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		b.Fatalf("%s has ended: %.2000s", s.name, s.log)
	}
	_, rest, _ := bytes.Cut(raw, []byte(") ")) // behind the command's name
	fields := strings.Fields(string(rest))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * clockTick
}
