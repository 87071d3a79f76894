// SPDX-License-Identifier: Apache-2.0

// Package value hands functions on that write. want: os.Symlink (*os.File).Chmod os.MkdirAll
package value

import (
	"os"
	"sync"
)

var hook = os.Symlink

// Hook is the function itself.
func Hook() func(string, string) error { return hook }

// Bound is a bound method.
func Bound(f *os.File) func(os.FileMode) error { return f.Chmod }

// Later is a closure that somebody else calls.
func Later() func() {
	return sync.OnceFunc(func() { _ = os.MkdirAll("x", 0o700) })
}
