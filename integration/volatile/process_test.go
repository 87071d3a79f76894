// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package volatile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// The tests of this package look at the real binary from outside: at its system
// calls and at its memory. The race detector finds nothing there, so they run only
// without it.

// theBinary and stockBinary, a Caddy without our modules, are built once for all
// tests.
var (
	theBinary   = sync.OnceValues(func() (string, error) { return build(harness.Root + "/cmd/caddy") })
	stockBinary = sync.OnceValues(func() (string, error) { return build("./testdata/stock") })
)

// build builds a package in the home directory of the tests, which is removed at the
// end.
func build(pkg string) (path string, err error) {
	path = filepath.Join(os.Getenv("HOME"), "built-"+filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Env = harness.GoEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the binary: %w\n%s", err, out)
	}
	return path, nil
}

// process is the gateway as a process of its own.
type process struct {
	admin string // of the admin endpoint
	dir   string // its home, working and temporary directory
	cmd   *exec.Cmd
	pid   int // of the gateway, also under strace
	log   *bytes.Buffer

	harness.Gateway // its address and a client
}

// launch starts the gateway with a Caddyfile, in which GATEWAY and ADMIN stand
// for addresses. wrap begins the command line, for example with strace.
func launch(t *testing.T, caddyfile string, env []string, wrap ...string) *process {
	t.Helper()
	return launchBinary(t, theBinary, caddyfile, env, wrap...)
}

// launchBinary is launch with any Caddy.
func launchBinary(t *testing.T, built func() (string, error), caddyfile string, env []string, wrap ...string) *process {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{dir: t.TempDir(), log: new(bytes.Buffer)}
	gate, admin := harness.FreeAddress(t), harness.FreeAddress(t)
	p.Gateway = harness.Gateway{URL: "http://" + gate, Client: harness.NewClient(t)}
	p.admin = "http://" + admin
	args := append(wrap, binary, "run", "--config", "-", "--adapter", "caddyfile")
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir = p.dir
	p.cmd.Env = append([]string{"HOME=" + p.dir, "TMPDIR=" + p.dir, "PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stdin = strings.NewReader(p.fill(caddyfile))
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// The process ends with the test, even if the test crashes.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(t) })
	p.await(t)
	p.pid = p.cmd.Process.Pid
	if len(wrap) > 0 {
		p.pid = childOf(t, p.pid)
	}
	return p
}

// fill puts the process's addresses into a config.
func (p *process) fill(config string) string {
	return strings.NewReplacer(
		"GATEWAY", strings.TrimPrefix(p.URL, "http://"), "ADMIN", strings.TrimPrefix(p.admin, "http://"),
	).Replace(config)
}

// await waits until the gateway answers.
func (p *process) await(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		resp, err := http.Get(p.URL + "/v1/models")
		if err == nil {
			resp.Body.Close()
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the gateway does not answer: %v\n%s", err, p.log)
		}
	}
}

// stop ends the process and waits for its end. It may be called again.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	pid := p.pid
	if pid == 0 {
		pid = p.cmd.Process.Pid
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Errorf("ending the process: %v", err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the process ended with %v\n%s", err, p.log)
	}
}

// adminClient keeps no connection: a reload cuts off those to the admin endpoint.
var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

// load replaces the running config through the admin endpoint.
func (p *process) load(t *testing.T, caddyfile string) (status int, answer string) {
	t.Helper()
	resp, err := adminClient.Post(p.admin+"/load", "text/caddyfile", strings.NewReader(p.fill(caddyfile)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// adminTries bounds how often adminGet asks.
const adminTries = 5

// adminGet asks the admin endpoint. After a reload Caddy closes the endpoint's old
// listener beside the new one, and a connection that waits in it is reset: then it asks
// again.
func (p *process) adminGet(t *testing.T, path string) string {
	t.Helper()
	resp, err := adminClient.Get(p.admin + path)
	for try := 1; errors.Is(err, syscall.ECONNRESET) && try < adminTries; try++ {
		resp, err = adminClient.Get(p.admin + path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v", path, resp.StatusCode, err)
	}
	return string(body)
}

// awaitState waits until the lock reaches a state. The gateway takes the lock once
// the config has started, maybe after its first answer.
func (p *process) awaitState(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		state := p.adminGet(t, "/kv_aware/volatile")
		if strings.Contains(state, want) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the state is %s, want %s", state, want)
		}
	}
}

// childOf returns the only child of a process.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(raw))
	if len(fields) != 1 {
		t.Fatalf("process %d has the children %q", pid, fields)
	}
	child, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return child
}

// mustBeEmpty fails when a process has left anything in its directory.
func mustBeEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("the process left %s behind", e.Name())
	}
}
