// SPDX-License-Identifier: Apache-2.0

// Package volatile locks the whole process out of the disk, for good. On Linux
// it uses Landlock (https://docs.kernel.org/userspace-api/landlock.html): from
// then on no thread can create, write, truncate, rename, link or remove a file
// or directory. Reading goes on, and so does writing to open sockets and files,
// which OpenForWriting counts.
//
// It knows nothing of Caddy; the package needs below it does.
package volatile

import (
	"errors"
	"sync"
	"sync/atomic"
)

// Level says how far the process is locked out.
type Level int32

const (
	// Unlocked: nothing is forbidden.
	Unlocked Level = iota
	// Partly: existing files can still be truncated by truncate(2), because the
	// kernel is older than 6.2; all else is forbidden.
	Partly
	// Locked: no file can be created or written.
	Locked
)

// String returns no, partly or fully.
func (l Level) String() string {
	switch l {
	case Locked:
		return "fully"
	case Partly:
		return "partly"
	}
	return "no"
}

// Errors of Check and Lock.
var (
	ErrSystem  = errors.New("locking the disk needs Linux")
	ErrMissing = errors.New("the kernel has no Landlock: it is older than 5.13, Landlock is not in its lsm= list, or a sandbox hides it")
	ErrOld     = errors.New("the kernel's Landlock cannot forbid truncating files: that needs Linux 6.2")
	ErrRefused = errors.New("the kernel has Landlock but refuses to use it, as under a seccomp filter or 16 Landlock layers deep")
)

var (
	locking sync.Mutex
	level   atomic.Int32
)

// State returns the level of this process.
func State() Level { return Level(level.Load()) }

// Check tries whether the process can be locked fully, on a thread that then ends.
// It returns nil when the process is locked already.
func Check() error {
	if State() == Locked {
		return nil
	}
	return check()
}

// Lock locks the process fully. It cannot be undone. A second call does nothing.
func Lock() error {
	locking.Lock()
	defer locking.Unlock()
	if State() == Locked {
		return nil
	}
	if err := check(); err != nil {
		return err
	}
	if err := lock(false); err != nil {
		return err
	}
	level.Store(int32(Locked))
	return nil
}

// LockBestEffort locks the process as far as the kernel can. It returns an error
// unless the process is locked fully.
func LockBestEffort() (Level, error) {
	err := Lock()
	if !errors.Is(err, ErrOld) {
		return State(), err
	}
	locking.Lock()
	defer locking.Unlock()
	if State() == Unlocked {
		if err := lock(true); err != nil {
			return Unlocked, err
		}
		level.Store(int32(Partly))
	}
	return State(), err
}

// ForbidCoreDumps keeps the kernel from writing this process's memory to a file or
// to a crash handler. It also keeps other processes of the same user from attaching.
func ForbidCoreDumps() error { return forbidCoreDumps() }

// OpenForWriting counts the regular files that this process holds open for writing,
// without standard input, output and error. The lock does not close them.
func OpenForWriting() (int, error) { return openForWriting() }

// inherited counts the files that the process was started with.
var inherited, _ = openForWriting()

// OpenedForWriting is OpenForWriting without the files that the process was
// started with. It is 0 where files cannot be counted.
func OpenedForWriting() int {
	n, _ := openForWriting()
	return max(0, n-inherited)
}
