// SPDX-License-Identifier: Apache-2.0

package callgraph

import (
	"fmt"
	"go/ast"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/go/packages"
)

const (
	root    = "../../.."
	module  = "github.com/bauxite/caddy-kvaware"
	planted = module + "/integration/volatile/callgraph/testdata/planted"
)

// linked returns our packages in users' binaries: those that the root package and
// cmd/caddy link.
var linked = sync.OnceValues(func() (map[string]bool, error) {
	cmd := exec.Command("go", "list", "-deps", ".", "./cmd/caddy")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	paths := make(map[string]bool)
	for _, path := range strings.Fields(string(out)) {
		if under(path, module) {
			paths[path] = true
		}
	}
	return paths, nil
})

func product(t *testing.T) map[string]bool {
	t.Helper()
	paths, err := linked()
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// gateway is the analysed product, loaded once for all tests.
var gateway = sync.OnceValues(func() (*program, error) {
	paths, err := linked()
	if err != nil {
		return nil, err
	}
	return loadProgram(root, func(path string) bool { return paths[path] })
})

func loadGateway(t *testing.T) *program {
	t.Helper()
	p, err := gateway()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// None of our functions can reach a function that writes a file.
func TestNothingOfOursCanWriteAFile(t *testing.T) {
	p := loadGateway(t)
	for path := range product(t) {
		if !p.own[path] {
			t.Errorf("%s was not analysed", path)
		}
	}
	for _, name := range []string{"", "/cmd/caddy", "/janitor", "/kvaware", "/radixcache"} {
		if !p.own[module+name] {
			t.Errorf("%s%s is not among the product's packages", module, name)
		}
	}
	for _, v := range p.violations() {
		t.Error(v)
	}
}

// Each package under testdata/planted writes files in ways that its package comment
// lists. The search finds all of these and no others.
func TestPlantedViolationsAreFound(t *testing.T) {
	p, err := loadProgram("testdata/planted", func(path string) bool { return under(path, planted) })
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]string)
	for _, v := range p.violations() {
		found[v.origin] = append(found[v.origin], v.target())
		if text := v.String(); len(v.path) > 1 && !strings.Contains(text, ".go:") {
			t.Errorf("the report does not say where: %s", text)
		}
	}
	checked := 0
	for _, pkg := range p.packages {
		if !p.own[pkg.PkgPath] {
			continue
		}
		checked++
		got := slices.Compact(slices.Sorted(slices.Values(found[pkg.PkgPath])))
		if want := wanted(pkg); !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", filepath.Base(pkg.PkgPath), got, want)
		}
	}
	if checked < 13 {
		t.Fatalf("only %d planted packages were analysed", checked)
	}
}

// wanted reads the list in a planted package's comment.
func wanted(pkg *packages.Package) []string {
	for _, file := range pkg.Syntax {
		if _, list, ok := strings.Cut(file.Doc.Text(), "want: "); ok {
			return slices.Sorted(slices.Values(strings.Fields(list)))
		}
	}
	return nil
}

// None of our files uses assembly, C or linkname, which the call graph cannot see.
func TestNothingOfOursIsHidden(t *testing.T) {
	for _, pkg := range loadGateway(t).packages {
		if product(t)[pkg.PkgPath] {
			for _, what := range hiding(pkg) {
				t.Errorf("%s: %s", pkg.PkgPath, what)
			}
		}
	}
	p, err := loadProgram("testdata/planted/hidden", func(path string) bool { return under(path, planted) })
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range p.packages {
		if under(pkg.PkgPath, planted) {
			if got := hiding(pkg); len(got) != 2 {
				t.Fatalf("found %q in the planted package", got)
			}
			return
		}
	}
	t.Fatal("the planted package was not loaded")
}

// hiding lists the parts of a package that the call graph cannot see.
func hiding(pkg *packages.Package) (what []string) {
	for _, name := range pkg.OtherFiles {
		what = append(what, "is not Go: "+filepath.Base(name))
	}
	for _, file := range pkg.Syntax {
		for _, group := range file.Comments {
			if slices.ContainsFunc(group.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:linkname") }) {
				what = append(what, "has a linkname: "+filepath.Base(pkg.Fset.Position(file.Pos()).Filename))
			}
		}
	}
	return what
}
