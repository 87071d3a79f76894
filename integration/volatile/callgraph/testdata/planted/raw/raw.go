// SPDX-License-Identifier: Apache-2.0

// Package raw goes to the kernel itself. want: syscall.Open syscall.Syscall syscall.Mknod
package raw

import "syscall"

// Open opens for writing; the flag is not known here.
func Open(flag int) {
	_, _ = syscall.Open("x", flag, 0)
	_, _, _ = syscall.Syscall(syscall.SYS_MKDIR, 0, 0, 0)
	_ = syscall.Mknod("x", 0, 0)
}
