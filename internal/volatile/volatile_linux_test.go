// SPDX-License-Identifier: Apache-2.0

package volatile

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A lock cannot be undone, so every test of it runs in a process of its own: this
// test binary again, with the name of the scene in its environment.
const sceneVar = "KV_AWARE_VOLATILE_SCENE"

var scenes = map[string]func(dir string) error{
	"unlocked":    unlockedScene,
	"locked":      lockedScene,
	"checked":     checkedScene,
	"best effort": bestEffortScene,
	"dumps":       dumpsScene,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(sceneVar); name != "" {
		if err := scenes[name](os.Getenv(sceneVar + "_DIR")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play runs a scene in another process, as user uid, and returns the names in its
// directory afterwards.
func play(t *testing.T, binary, scene string, uid uint32) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), []byte("content"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "old"), 0o666); err != nil {
		t.Fatal(err)
	}
	for d := dir; uid != 0 && d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), sceneVar+"="+scene, sceneVar+"_DIR="+dir)
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if content, err := os.ReadFile(filepath.Join(dir, "old")); scene == "locked" && (err != nil || string(content) != "content") {
		t.Errorf("the old file holds %q, %v", content, err)
	}
	return names
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// attempts holds all ways to change a disk. Each is tried in a directory with a file
// named old.
var attempts = map[string]func(dir string) error{
	"create":        func(dir string) error { return closing(os.Create(dir + "/new")) },
	"open to write": func(dir string) error { return closing(os.OpenFile(dir+"/old", os.O_WRONLY, 0)) },
	"open to both":  func(dir string) error { return closing(os.OpenFile(dir+"/old", os.O_RDWR, 0)) },
	"append":        func(dir string) error { return closing(os.OpenFile(dir+"/old", os.O_APPEND|os.O_WRONLY, 0)) },
	"unnamed file":  func(dir string) error { return closing(os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)) },
	"truncate":      func(dir string) error { return os.Truncate(dir+"/old", 1) },
	"mkdir":         func(dir string) error { return os.Mkdir(dir+"/newdir", 0o700) },
	"symlink":       func(dir string) error { return os.Symlink("old", dir+"/symlink") },
	"link":          func(dir string) error { return os.Link(dir+"/old", dir+"/link") },
	"fifo":          func(dir string) error { return unix.Mkfifo(dir+"/fifo", 0o600) },
	"socket": func(dir string) error {
		l, err := net.Listen("unix", dir+"/socket")
		if err == nil {
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			l.Close()
		}
		return err
	},
	"rename": func(dir string) error { return os.Rename(dir+"/old", dir+"/renamed") },
	"remove": func(dir string) error { return os.Remove(dir + "/old") },
}

func closing(f *os.File, err error) error {
	if err == nil {
		f.Close()
	}
	return err
}

// reads must go on working.
func reads(dir string) error {
	if content, err := os.ReadFile(dir + "/old"); err != nil || string(content) != "content" {
		return fmt.Errorf("reading a file: %q, %v", content, err)
	}
	if _, err := os.ReadDir(dir); err != nil {
		return err
	}
	return os.WriteFile(os.DevNull, []byte("x"), 0)
}

// onThreads runs f on several threads at once that are there already.
func onThreads(n int, prepare func(), f func() error) error {
	var ready, done sync.WaitGroup
	ready.Add(n)
	start := make(chan struct{})
	errs := make([]error, n)
	for i := range n {
		done.Go(func() {
			runtime.LockOSThread()
			ready.Done()
			<-start
			errs[i] = f()
		})
	}
	ready.Wait()
	prepare()
	close(start)
	done.Wait()
	return errors.Join(errs...)
}

// unlockedScene shows that every attempt works without the lock. Otherwise failing
// under the lock would prove nothing.
func unlockedScene(dir string) error {
	for name, try := range attempts {
		for _, leftover := range []string{"new", "newdir", "symlink", "link", "fifo", "socket", "renamed"} {
			os.Remove(filepath.Join(dir, leftover))
		}
		if err := os.WriteFile(dir+"/old", []byte("content"), 0o666); err != nil {
			return err
		}
		if err := try(dir); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if State() != Unlocked {
		return fmt.Errorf("the state is %v", State())
	}
	return nil
}

func lockedScene(dir string) error {
	before, err := OpenForWriting() // the parent process may have left some open
	if err != nil {
		return err
	}
	open, err := os.OpenFile(dir+"/old", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer open.Close()
	read, err := os.Open(dir + "/old")
	if err != nil {
		return err
	}
	defer read.Close()
	if n, err := OpenForWriting(); n != before+1 || err != nil {
		return fmt.Errorf("%d files are open for writing, there were %d, %v", n, before, err)
	}
	if n := OpenedForWriting(); n != 1 {
		return fmt.Errorf("%d files were opened for writing, want 1", n)
	}
	var lockErr error
	err = onThreads(8, func() { lockErr = Lock() }, func() error { return allDenied(dir) })
	if err := errors.Join(lockErr, err); err != nil {
		return err
	}
	// Later threads, too.
	if err := onThreads(20, func() {}, func() error { return allDenied(dir) }); err != nil {
		return err
	}
	for range 20 { // the kernel stacks at most 16
		if err := errors.Join(Lock(), Check()); err != nil {
			return fmt.Errorf("again: %w", err)
		}
	}
	if State() != Locked {
		return fmt.Errorf("the state is %v", State())
	}
	return nil
}

func allDenied(dir string) error {
	if err := reads(dir); err != nil {
		return err
	}
	for name, try := range attempts {
		if err := try(dir); !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("%s: %v, want permission denied", name, err)
		}
	}
	return nil
}

// checkedScene: Check leaves every thread as it was.
func checkedScene(dir string) error {
	for range 50 {
		if err := Check(); err != nil {
			return err
		}
	}
	status, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	if len(status) > 30 {
		return fmt.Errorf("%d threads are left", len(status))
	}
	err = onThreads(16, func() {}, func() error {
		return closing(os.CreateTemp(dir, ""))
	})
	return errors.Join(err, unlockedScene(dir))
}

// bestEffortScene: on a new kernel the lock is full. The integration tests cover old
// kernels, with a strace that changes the kernel's answer.
func bestEffortScene(dir string) error {
	if level, err := LockBestEffort(); level != Locked || err != nil {
		return fmt.Errorf("level %v, %v", level, err)
	}
	return allDenied(dir)
}

func dumpsScene(string) error {
	if err := ForbidCoreDumps(); err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		return fmt.Errorf("core limit %+v, %v", limit, err)
	}
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		return fmt.Errorf("dumpable %d, %v", dumpable, err)
	}
	_, err := OpenForWriting()
	return err
}

func TestUnlocked(t *testing.T) { play(t, self(t), "unlocked", 0) }

func TestLocked(t *testing.T) {
	requireLandlock(t)
	if names := play(t, self(t), "locked", 0); !slices.Equal(names, []string{"old"}) {
		t.Fatalf("there are %q", names)
	}
}

func TestCheckLocksNothing(t *testing.T) {
	requireLandlock(t)
	play(t, self(t), "checked", 0)
}

func TestLockBestEffort(t *testing.T) {
	requireLandlock(t)
	play(t, self(t), "best effort", 0)
}

func TestNoCoreDumps(t *testing.T) { play(t, self(t), "dumps", 0) }

const nobody = 65534

// Locking needs no privilege, and a process that is not dumpable can still
// look at itself.
func TestAsNobody(t *testing.T) {
	requireLandlock(t)
	if os.Getuid() != 0 {
		t.Skip("only root can become another user; the other tests have run without privilege")
	}
	binary := filepath.Join(t.TempDir(), "scene.test")
	content, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, content, 0o755); err != nil {
		t.Fatal(err)
	}
	play(t, binary, "dumps", nobody)
	play(t, binary, "locked", nobody)
}

// The lock reaches all threads by a C library in a build with cgo, by the Go runtime
// without. Releases have no cgo; the race detector needs it.
func TestTheOtherBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the test a second time")
	}
	requireLandlock(t)
	binary := filepath.Join(t.TempDir(), "other.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+otherCgo, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building with CGO_ENABLED=%s: %v\n%s", otherCgo, err, out)
	}
	if names := play(t, binary, "locked", 0); !slices.Equal(names, []string{"old"}) {
		t.Fatalf("there are %q", names)
	}
	play(t, binary, "checked", 0)
}

// requireLandlock skips where the kernel cannot, unless CI says that it can.
func requireLandlock(t *testing.T) {
	t.Helper()
	err := Check()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("in CI the lock must be tested: %v", err)
	default:
		t.Skip(err)
	}
}

func TestLevels(t *testing.T) {
	for level, want := range map[Level]string{Unlocked: "no", Partly: "partly", Locked: "fully"} {
		if got := level.String(); got != want {
			t.Errorf("%d is %q, want %q", level, got, want)
		}
	}
	for _, err := range []error{ErrSystem, ErrMissing, ErrOld, ErrRefused} {
		if text := err.Error(); text == "" || strings.Contains(text, "\n") {
			t.Errorf("%q", text)
		}
	}
}
