// SPDX-License-Identifier: Apache-2.0

// Command report runs a step of the build and records how long it took, so that
// the build can say at its end what took longest.
//
//	report NAME COMMAND...   runs a step
//	report -slowest          prints the steps, packages and tests that took longest
//
// The output of `go test` stays as it is without -v: the closing line of each
// package, and what failed. The records are in the file that $TIMES names.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// record is the time of a step, of a package in it, or of a test in the package.
type record struct {
	Step, Package, Test string
	Seconds             float64
}

func (r record) kind() string {
	switch {
	case r.Test != "":
		return "tests"
	case r.Package != "":
		return "packages"
	}
	return "steps"
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "-slowest" {
		slowest()
		return
	}
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: report NAME COMMAND... | report -slowest")
		os.Exit(2)
	}
	step := os.Args[1]
	began := time.Now()
	records, err := run(step, os.Args[2:])
	keep(append(records, record{Step: step, Seconds: time.Since(began).Seconds()}))
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		os.Exit(max(1, exit.ExitCode()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run runs a command. That of a `go test` is told to print JSON, which becomes
// the usual output again.
func run(step string, args []string) (records []record, err error) {
	isTest := len(args) > 3 && strings.HasSuffix(args[0], "go") && args[1] == "test"
	if isTest {
		at := 2
		if args[at] == "-C" && len(args) > 4 { // which must come first
			at = 4
		}
		args = slices.Insert(slices.Clone(args), at, "-json")
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if !isTest {
		return nil, cmd.Run()
	}
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	records = follow(step, out)
	return records, cmd.Wait()
}

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// follow prints what `go test` would have printed, and returns the times.
func follow(step string, in io.Reader) (records []record) {
	output := make(map[string]*strings.Builder) // of tests that have not ended
	of := func(e event) *strings.Builder {
		key := e.Package + " " + e.Test
		if output[key] == nil {
			output[key] = new(strings.Builder)
		}
		return output[key]
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Println(lines.Text()) // not of test2json
			continue
		}
		switch e.Action {
		case "output", "build-output":
			if strings.HasPrefix(e.Output, "=== ") {
				continue
			}
			if e.Test != "" {
				of(e).WriteString(e.Output)
			} else if e.Output != "PASS\n" {
				fmt.Print(e.Output)
			}
		case "pass", "fail", "skip":
			if e.Action == "fail" && e.Test != "" {
				fmt.Print(of(e))
			}
			delete(output, e.Package+" "+e.Test)
			records = append(records, record{step, e.Package, e.Test, e.Elapsed})
		}
	}
	// A binary that crashed or ran out of time leaves its tests without an end.
	for _, text := range output {
		fmt.Print(text)
	}
	return records
}

func keep(records []record) {
	name := os.Getenv("TIMES")
	if name == "" {
		return
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer file.Close()
	out := json.NewEncoder(file)
	for _, r := range records {
		if err := out.Encode(r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
	}
}

func slowest() {
	file, err := os.Open(os.Getenv("TIMES"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer file.Close()
	byKind := make(map[string][]record)
	for in := json.NewDecoder(file); ; {
		var r record
		if err := in.Decode(&r); err != nil {
			break
		}
		if !strings.Contains(r.Test, "/") { // a subtest is part of its test
			byKind[r.kind()] = append(byKind[r.kind()], r)
		}
	}
	fmt.Println("What took longest:")
	for _, kind := range []string{"steps", "packages", "tests"} {
		all := byKind[kind]
		slices.SortFunc(all, func(a, b record) int { return cmp.Compare(b.Seconds, a.Seconds) })
		for _, r := range all[:min(12, len(all))] {
			pkg := strings.TrimPrefix(r.Package, "github.com/bauxite/caddy-kvaware/")
			fmt.Printf("%8.1f s  %s\n", r.Seconds, strings.Join(strings.Fields(r.Step+" "+pkg+" "+r.Test), " "))
		}
		fmt.Println()
	}
}
