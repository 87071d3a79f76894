// SPDX-License-Identifier: Apache-2.0

package callgraph

import (
	"go/types"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// exceptions lists our packages that import a package that could write files or run
// programs, with the reason.
var exceptions = map[string]string{
	"/janitor os":                              "the error of a read that has run into its deadline",
	"/internal/commands os":                    "reads the file that a command is given, prints to standard output",
	"/internal/commands os/signal":             "ends the demo on Ctrl-C",
	"/internal/volatile os":                    "reads /proc/self, to count files that are open for writing",
	"/internal/volatile/needs os":              "looks for certificates in the storage that Caddy manages",
	"/internal/volatile golang.org/x/sys/unix": "the lock itself: prctl, setrlimit, closing the ruleset",
	"/internal/engine/metrics syscall":         "the number of an error, to tell a refused connection",
	"/internal/engine/zmtp syscall":            "the numbers of errors, to tell a connection that was refused or reset",
	"/internal/engine/zmtp os":                 "the error of a read that has run into its deadline",
}

// suspect lists the imports that need an exception.
var suspect = []string{"os", "io/ioutil", "plugin", "syscall", "golang.org/x/sys", "C"}

// Every suspect import has an exception, and every exception is needed.
func TestSuspectImportsAreExplained(t *testing.T) {
	p := loadGateway(t)
	unused := make(map[string]bool, len(exceptions))
	for name := range exceptions {
		importer, _, _ := strings.Cut(name, " ")
		unused[name] = p.own[module+importer]
	}
	for _, pkg := range p.packages {
		if !product(t)[pkg.PkgPath] {
			continue
		}
		for path := range pkg.Imports {
			if !under(path, suspect...) {
				continue
			}
			name := strings.TrimPrefix(pkg.PkgPath, module) + " " + path
			if exceptions[name] == "" {
				t.Errorf("%s imports %s, which no exception explains", pkg.PkgPath, path)
			}
			delete(unused, name)
		}
	}
	for name, is := range unused {
		if !is {
			continue
		}
		t.Errorf("the exception %q is not needed any more", name)
	}
}

var tableName = regexp.MustCompile(`^(?:\((\*?)(.+)\.(\w+)\)|(.+))\.(\w+)$`)

// Every function that a table names exists. A rule for a function that was renamed
// would have no effect.
func TestTablesNameWhatExists(t *testing.T) {
	var names []string
	for name := range harmless {
		names = append(names, name)
	}
	for name := range forbidden {
		names = append(names, name)
	}
	var paths []string
	for _, name := range names {
		m := tableName.FindStringSubmatch(name)
		if m == nil {
			t.Fatalf("%q is no name of a function", name)
		}
		paths = append(paths, m[2]+m[4])
	}
	slices.Sort(paths)
	loaded, err := packages.Load(&packages.Config{Dir: root, Mode: packages.NeedName | packages.NeedTypes}, slices.Compact(paths)...)
	if err != nil {
		t.Fatal(err)
	}
	byPath := make(map[string]*types.Package)
	for _, pkg := range loaded {
		byPath[pkg.PkgPath] = pkg.Types
	}
	for _, name := range names {
		if !exists(byPath, name) {
			t.Errorf("there is no %s", name)
		}
	}
	for _, name := range []string{"os.Creat", "(*os.File).Scribble", "(*os.Fil).Write", "no/such/package.F"} {
		if exists(byPath, name) {
			t.Errorf("%s passes for a function", name)
		}
	}
}

// exists reports whether a package has the function or method.
func exists(packages map[string]*types.Package, name string) bool {
	m := tableName.FindStringSubmatch(name)
	pkg := packages[m[2]+m[4]]
	if pkg == nil {
		return false
	}
	if m[4] != "" {
		_, ok := pkg.Scope().Lookup(m[5]).(*types.Func)
		return ok
	}
	receiver := pkg.Scope().Lookup(m[3])
	if receiver == nil {
		return false
	}
	typ := receiver.Type()
	if m[1] == "*" {
		typ = types.NewPointer(typ)
	}
	method, _, _ := types.LookupFieldOrMethod(typ, true, pkg, m[5])
	f, ok := method.(*types.Func)
	return ok && f.FullName() == name
}
