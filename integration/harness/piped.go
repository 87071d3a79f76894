// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// Piped is a running program that reads its standard input and writes its output to
// the test.
type Piped struct {
	In      io.WriteCloser
	Out     io.Reader
	Log     bytes.Buffer // its standard error, complete after Kill
	Process *os.Process
	Kill    func() // ends it at once, and waits until its ports are free
}

// StartPiped starts a program that ends with the test.
func StartPiped(t testing.TB, name string, args ...string) *Piped {
	t.Helper()
	p := new(Piped)
	command := exec.Command(name, args...)
	command.Stderr = &p.Log
	var err error
	if p.In, err = command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if p.Out, err = command.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p.Process = command.Process
	p.Kill = sync.OnceFunc(func() {
		_ = command.Process.Kill() // it may have ended already
		_ = command.Wait()         // closes the pipes
	})
	t.Cleanup(p.Kill)
	return p
}
