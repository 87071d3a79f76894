// SPDX-License-Identifier: Apache-2.0

package callgraph

import (
	"errors"
	"fmt"
	"go/types"
	"slices"
	"strings"

	"golang.org/x/tools/go/callgraph"
	"golang.org/x/tools/go/callgraph/cha"
	"golang.org/x/tools/go/callgraph/vta"
	"golang.org/x/tools/go/packages"
	"golang.org/x/tools/go/ssa"
	"golang.org/x/tools/go/ssa/ssautil"
)

// program is a module's own packages, all they depend on up to the borders,
// and the calls between them.
type program struct {
	own       map[string]bool // package paths
	packages  []*packages.Package
	functions map[*ssa.Function]bool
	calls     *callgraph.Graph
}

// loadProgram analyses the packages of the module in dir that own accepts, and all
// they import up to the borders. Packages behind a border have types, from the build
// cache, but no function bodies.
func loadProgram(dir string, own func(path string) bool) (*program, error) {
	p := &program{own: make(map[string]bool)}
	paths, err := p.list(dir, own)
	if err != nil {
		return nil, err
	}
	p.packages, err = packages.Load(&packages.Config{Dir: dir, Mode: packages.LoadSyntax}, paths...)
	if err != nil {
		return nil, err
	}
	for _, pkg := range p.packages {
		if len(pkg.Errors) > 0 {
			return nil, fmt.Errorf("%s: %w", pkg.PkgPath, pkg.Errors[0])
		}
	}
	prog, _ := ssautil.Packages(p.packages, ssa.InstantiateGenerics)
	prog.Build()
	p.functions = ssautil.AllFunctions(prog)
	p.addDeadCode(prog)
	p.calls = vta.CallGraph(p.functions, cha.CallGraph(prog))
	return p, nil
}

// list returns the packages to analyse: our own and their imports up to the borders.
func (p *program) list(dir string, own func(path string) bool) ([]string, error) {
	all, err := packages.Load(&packages.Config{
		Dir: dir, Mode: packages.NeedName | packages.NeedImports | packages.NeedDeps,
	}, "./...")
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	var walk func(pkg *packages.Package)
	walk = func(pkg *packages.Package) {
		if seen[pkg.PkgPath] || pkg.PkgPath == "unsafe" || border(pkg.PkgPath) {
			return
		}
		seen[pkg.PkgPath] = true
		for _, imported := range pkg.Imports {
			walk(imported)
		}
	}
	for _, pkg := range all {
		if own(pkg.PkgPath) {
			p.own[pkg.PkgPath] = true
			walk(pkg)
		}
	}
	if len(p.own) == 0 {
		return nil, errors.New("no package of the module is to be analysed")
	}
	paths := make([]string, 0, len(seen))
	for path := range seen {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths, nil
}

// addDeadCode adds the functions that AllFunctions omits because nothing uses them.
func (p *program) addDeadCode(prog *ssa.Program) {
	var add func(f *ssa.Function)
	add = func(f *ssa.Function) {
		if f == nil || p.functions[f] || f.TypeParams().Len() > len(f.TypeArgs()) {
			return // there is no code of a generic function, only of instances
		}
		p.functions[f] = true
		for _, closure := range f.AnonFuncs {
			add(closure)
		}
	}
	for path := range p.own {
		for _, member := range prog.ImportedPackage(path).Members {
			switch m := member.(type) {
			case *ssa.Function:
				add(m)
			case *ssa.Type:
				named, ok := types.Unalias(m.Type()).(*types.Named)
				if !ok || named.TypeParams().Len() > 0 || types.IsInterface(named) {
					continue
				}
				for method := range prog.MethodSets.MethodSet(types.NewPointer(named)).Methods() {
					add(prog.MethodValue(method))
				}
			}
		}
	}
}

// packageOf returns the path of a function's package. It knows the functions that the
// analysis creates: instances of generic functions, bound methods, wrappers of
// promoted methods.
func packageOf(f *ssa.Function) string {
	for f.Parent() != nil {
		f = f.Parent()
	}
	if f.Origin() != nil {
		f = f.Origin()
	}
	if object := f.Object(); object != nil && object.Pkg() != nil {
		return object.Pkg().Path()
	}
	if f.Pkg != nil {
		return f.Pkg.Pkg.Path()
	}
	return "" // of the universe, such as error.Error
}

// nameOf returns a function's name in the form of the tables: os.Create,
// (*os.File).Truncate.
func nameOf(f *ssa.Function) string {
	if f.Origin() != nil {
		f = f.Origin()
	}
	if object := f.Object(); object != nil {
		type named interface{ FullName() string }
		return object.(named).FullName()
	}
	return f.String()
}

// under reports whether a package is in one of the trees.
func under(path string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return path == tree || strings.HasPrefix(path, tree+"/")
	})
}
