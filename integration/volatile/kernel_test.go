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

// kernelWith returns a command line under which the kernel's Landlock answers
// otherwise: strace puts in another answer to who asks for its version.
func kernelWith(t *testing.T, answer string) []string {
	t.Helper()
	wrap, _ := strace(t)
	return append(wrap[:len(wrap)-2:len(wrap)-2], "-e", "trace=landlock_create_ruleset", "-e", "inject=landlock_create_ruleset:"+answer, "-o", "/dev/null")
}

// comesTo waits some seconds for a state.
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

// kill ends a process that nothing is wanted of any more.
func (p *process) kill() {
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
	_ = p.cmd.Wait()
}

const (
	noLandlock  = "error=ENOSYS"
	oldLandlock = "retval=2:when=1..2" // ABI 2 is Linux 5.19; our question, and the library's
)

// `require` does not start where the kernel cannot lock, and says why and what
// else there is.
func TestRequireNeedsTheKernel(t *testing.T) {
	for answer, why := range map[string]string{noLandlock: "has no Landlock", oldLandlock: "needs Linux 6.2"} {
		binary, err := theBinary()
		if err != nil {
			t.Fatal(err)
		}
		wrap := append(kernelWith(t, answer), binary, "run", "--config", "-", "--adapter", "caddyfile")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // if it should start
		defer cancel()
		cmd := exec.CommandContext(ctx, wrap[0], wrap[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // strace lets go of what it traces when it is killed alone
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.WaitDelay = 5 * time.Second
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"HOME=" + cmd.Dir}
		p := &process{Gateway: harness.Gateway{URL: "http://" + harness.FreeAddress(t)}, admin: "http://" + harness.FreeAddress(t)}
		cmd.Stdin = strings.NewReader(p.fill(volatileExample(t, harness.StartEngines(t, 1, enginesim.Config{}))))
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Fatalf("%s: it has started and ended well\n%s", answer, out)
		}
		for _, want := range []string{"volatile_only require: ", why, "volatile_only best_effort"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: the output lacks %q:\n%s", answer, want, out)
			}
		}
	}
}

// `best_effort` starts anywhere, warns, and tells how far it came.
func TestBestEffortAnywhere(t *testing.T) {
	for answer, want := range map[string]string{noLandlock: `"locked":"no"`, oldLandlock: `"locked":"partly"`} {
		engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 100})
		config := volatileExample(t, engines, "volatile_only require", "volatile_only best_effort")
		// strace counts the calls of each thread by themselves. When the runtime
		// has moved the one that locks, another call gets the answer: then this is
		// no kernel that there is.
		var p *process
		for tries := 1; ; tries++ {
			p = launch(t, config, nil, kernelWith(t, answer)...)
			if p.comesTo(`"volatile_only":"best_effort",` + want) {
				break
			}
			if tries == 10 {
				t.Fatalf("%s: the state does not come to %s", answer, want)
			}
			p.kill()
		}
		if metrics := p.adminGet(t, "/metrics"); !strings.Contains(metrics, "\ncaddy_kv_aware_disk_locked 0\n") {
			t.Errorf("%s: the metric does not say that the process is not locked fully", answer)
		}
		p.stop(t) // the warning comes with the lock, or right behind it
		if log := p.log.String(); !strings.Contains(log, "the process is not fully locked out of the disk") {
			t.Errorf("%s: no warning in\n%s", answer, log)
		}
	}
}
