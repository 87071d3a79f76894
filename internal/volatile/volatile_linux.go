// SPDX-License-Identifier: Apache-2.0

package volatile

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// written holds the rights that the lock takes away, everywhere. All others, such
// as reading and executing, stay.
const written = ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRefer |
	ll.AccessFSRemoveDir | ll.AccessFSRemoveFile |
	ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSMakeSym | ll.AccessFSMakeSock |
	ll.AccessFSMakeFifo | ll.AccessFSMakeChar | ll.AccessFSMakeBlock

// truncating is the first version of Landlock's ABI that can forbid truncating.
const truncating = 3

// lock puts every thread under Landlock. bestEffort leaves out rights that the
// kernel does not know. /dev/null stays writable.
func lock(bestEffort bool) error {
	config := landlock.MustConfig(landlock.AccessFSSet(written))
	if bestEffort {
		config = config.BestEffort()
	}
	null := landlock.PathAccess(ll.AccessFSWriteFile|ll.AccessFSTruncate, os.DevNull).IgnoreIfMissing()
	if config.RestrictPaths(null) != nil {
		return ErrRefused
	}
	return nil
}

func check() error {
	version, err := ll.LandlockGetABIVersion()
	switch {
	case err != nil || version < 1:
		return ErrMissing
	case version < truncating:
		return ErrOld
	}
	result := make(chan error)
	go func() {
		// The thread stays locked, so it ends with this goroutine.
		runtime.LockOSThread()
		result <- restrictThread()
	}()
	if <-result != nil {
		return ErrRefused
	}
	return nil
}

// restrictThread locks the calling thread alone.
func restrictThread() error {
	ruleset, err := ll.LandlockCreateRuleset(&ll.RulesetAttr{HandledAccessFS: written}, 0)
	if err != nil {
		return err
	}
	defer unix.Close(ruleset)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return ll.LandlockRestrictSelf(ruleset, 0)
}

func forbidCoreDumps() error {
	// The limit stops dumps to files; a process that is not dumpable is not piped
	// to a handler either.
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
	)
}

func openForWriting() (n int, err error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, errors.New("the open files cannot be listed")
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= 2 {
			continue
		}
		if onDisk("/proc/self/fd/"+entry.Name()) && writable(entry.Name()) {
			n++
		}
	}
	return n, nil
}

// onDisk reports whether an open file is on a disk: no socket, device or memory.
func onDisk(fd string) bool {
	info, err := os.Stat(fd)
	if err != nil || !info.Mode().IsRegular() {
		return false // or closed in the meantime
	}
	target, err := os.Readlink(fd)
	return err == nil && strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "/memfd:")
}

// writable reads the flags of an open file (proc_pid_fdinfo(5)).
func writable(fd string) bool {
	info, err := os.ReadFile("/proc/self/fdinfo/" + fd)
	if err != nil {
		return false
	}
	_, after, ok := bytes.Cut(info, []byte("flags:\t"))
	digits, _, _ := bytes.Cut(after, []byte("\n"))
	flags, err := strconv.ParseInt(string(digits), 8, 64)
	return ok && err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
}
