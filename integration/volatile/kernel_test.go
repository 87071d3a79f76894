// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package volatile

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// kernelWith returns a command line that replaces the kernel's answer to questions
// about Landlock: strace injects another one.
func kernelWith(t *testing.T, answer string) []string {
	t.Helper()
	wrap, _ := strace(t)
	return append(wrap[:len(wrap)-2:len(wrap)-2], "-e", "trace=landlock_create_ruleset", "-e", "inject=landlock_create_ruleset:"+answer, "-o", "/dev/null")
}

// comesTo waits for a state, for some seconds.
func (p *process) comesTo(want string) bool {
	for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(20 * time.Millisecond) {
		resp, err := adminClient.Get(p.admin + "/kv_aware/volatile")
		if err != nil {
			continue
		}
		state, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && strings.Contains(string(state), want) {
			return true
		}
	}
	return false
}

// kill ends a process at once.
func (p *process) kill() {
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
	_ = p.cmd.Wait()
}

const (
	noLandlock  = "error=ENOSYS"
	oldLandlock = "retval=2:when=1..2" // ABI 2 is Linux 5.19; one answer for our question, one for the library's
)

// With `require` the gateway does not start on a kernel without the lock. The error
// gives the reason and the alternative.
func TestRequireNeedsTheKernel(t *testing.T) {
	for answer, why := range map[string]string{noLandlock: "has no Landlock", oldLandlock: "needs Linux 6.2"} {
		binary, err := theBinary()
		if err != nil {
			t.Fatal(err)
		}
		wrap := append(kernelWith(t, answer), binary, "run", "--config", "-", "--adapter", "caddyfile")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // in case it starts
		defer cancel()
		cmd := exec.CommandContext(ctx, wrap[0], wrap[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // killing strace alone would leave its child running
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.WaitDelay = 5 * time.Second
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"HOME=" + cmd.Dir}
		p := &process{Gateway: harness.Gateway{URL: "http://" + harness.FreeAddress(t)}, admin: "http://" + harness.FreeAddress(t)}
		cmd.Stdin = strings.NewReader(p.fill(volatileExample(t, harness.StartEngines(t, 1, enginesim.Config{}))))
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Fatalf("%s: the gateway started and ended without an error\n%s", answer, out)
		}
		for _, want := range []string{"volatile_only require: ", why, "volatile_only best_effort"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: the output lacks %q:\n%s", answer, want, out)
			}
		}
	}
}

// With `best_effort` the gateway starts on any kernel, warns, and reports how far it
// is locked.
func TestBestEffortAnywhere(t *testing.T) {
	for answer, want := range map[string]string{noLandlock: `"locked":"no"`, oldLandlock: `"locked":"partly"`} {
		engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 100})
		config := volatileExample(t, engines, "volatile_only require", "volatile_only best_effort")
		// strace counts the calls of each thread on its own. When the runtime moves the
		// goroutine that locks to another thread, a wrong call gets the injected answer.
		var p *process
		for tries := 1; ; tries++ {
			p = launch(t, config, nil, kernelWith(t, answer)...)
			if p.comesTo(`"volatile_only":"best_effort",` + want) {
				break
			}
			if tries == 10 {
				t.Fatalf("%s: the state never becomes %s", answer, want)
			}
			p.kill()
		}
		if metrics := p.adminGet(t, "/metrics"); !strings.Contains(metrics, "\ncaddy_kv_aware_disk_locked 0\n") {
			t.Errorf("%s: the metric says that the process is fully locked", answer)
		}
		p.stop(t) // the warning may come after the lock
		if log := p.log.String(); !strings.Contains(log, "the process is not fully locked out of the disk") {
			t.Errorf("%s: no warning in\n%s", answer, log)
		}
	}
}
