// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package integration

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/enginesim"
)

// kernelWith returns a command line under which the kernel's Landlock answers
// otherwise: strace puts in another answer to who asks for its version.
func kernelWith(t *testing.T, answer string) []string {
	t.Helper()
	wrap, _ := strace(t)
	return append(wrap[:len(wrap)-2:len(wrap)-2], "-e", "trace=landlock_create_ruleset", "-e", "inject=landlock_create_ruleset:"+answer, "-o", "/dev/null")
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
		p := &process{gateway: gateway{url: "http://" + reserved(t)}, admin: "http://" + reserved(t)}
		cmd.Stdin = strings.NewReader(p.fill(volatileExample(t, startEngines(t, 1, enginesim.Config{}))))
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
		engines := startEngines(t, 1, enginesim.Config{Speed: 100})
		p := launch(t, volatileExample(t, engines, "volatile_only require", "volatile_only best_effort"), nil, kernelWith(t, answer)...)
		p.awaitState(t, `"volatile_only":"best_effort",`+want)
		if metrics := p.adminGet(t, "/metrics"); !strings.Contains(metrics, "\ncaddy_kv_aware_disk_locked 0\n") {
			t.Errorf("%s: the metric does not say that the process is not locked fully", answer)
		}
		p.stop(t) // the warning comes with the lock, or right behind it
		if log := p.log.String(); !strings.Contains(log, "the process is not fully locked out of the disk") {
			t.Errorf("%s: no warning in\n%s", answer, log)
		}
	}
}
