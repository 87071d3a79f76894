// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// python returns an interpreter that has both modules, which the first one in the
// PATH may lack.
var python = sync.OnceValue(func() string {
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import zmq, msgpack").Run() == nil {
			return name
		}
	}
	return ""
})

// publisher is a process with a PUB and a ROUTER of libzmq.
type publisher struct {
	t       testing.TB
	process *os.Process
	kill    func() // waits until the ports are free
	in      io.WriteCloser
	out     *bufio.Scanner
	where   struct{ Events, Replay string } // host:port
	doing   sync.Mutex                      // locked by do
}

// publish starts a publisher that ends with the test.
func publish(t testing.TB, args ...string) *publisher {
	t.Helper()
	name := python()
	if name == "" {
		const text = "python3-zmq and python3-msgpack are missing; `make prerequisites` installs them"
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	command := exec.Command(name, append([]string{"-I", "testdata/publisher.py"}, args...)...)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &publisher{t: t, process: command.Process, in: in, out: bufio.NewScanner(out)}
	p.kill = sync.OnceFunc(func() {
		_ = p.process.Kill() // it may have been killed or stopped already
		_ = command.Wait()
	})
	t.Cleanup(p.kill)
	p.answer(&p.where)
	return p
}

// answer reads a line from the publisher.
func (p *publisher) answer(to any) {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("the publisher has ended: %v", p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), to); err != nil {
		p.t.Fatalf("%q: %v", p.out.Text(), err)
	}
}

// done is the state of a publisher.
type done struct {
	Next    uint64 // the next sequence number
	Replays int    // requests for a replay
}

// do sends a command and waits until it is obeyed.
func (p *publisher) do(command map[string]any) done {
	p.t.Helper()
	p.doing.Lock()
	defer p.doing.Unlock()
	p.order(command)
	return p.done()
}

// order sends a command and does not wait.
func (p *publisher) order(command map[string]any) {
	p.t.Helper()
	line, err := json.Marshal(command)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.t.Fatal(err)
	}
}

// done waits until the command of order is obeyed.
func (p *publisher) done() (d done) {
	p.t.Helper()
	p.answer(&d)
	return d
}
