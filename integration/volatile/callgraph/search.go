// SPDX-License-Identifier: Apache-2.0

package callgraph

import (
	"cmp"
	"fmt"
	"go/token"
	"slices"
	"strings"

	"golang.org/x/tools/go/ssa"
)

// violation is a path from our code to a function that it must not reach.
type violation struct {
	origin string // our package, in which the path begins
	path   []step // the last is the forbidden function
	why    string
}

// step is one function on a path.
type step struct {
	name string
	call token.Position // of the call or mention of the next function
}

// String shows the whole path, a line for each step.
func (v violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.path[len(v.path)-1].name, v.why)
	for _, s := range v.path[:len(v.path)-1] {
		fmt.Fprintf(&b, "\n\t%s\n\t\t%s", s.name, s.call)
	}
	return b.String()
}

// target is the name of the forbidden function.
func (v violation) target() string { return v.path[len(v.path)-1].name }

// search follows the calls breadth first, so that it finds shortest paths.
type search struct {
	program *program
	from    map[*ssa.Function]mention // the mention that first reached a function
	queue   []*ssa.Function
	found   []violation
	told    map[string]bool
}

// mention is a place where a function calls or mentions another.
type mention struct {
	caller *ssa.Function // nil: an entry
	at     token.Pos
}

// violations returns a shortest path to every forbidden function that each
// function of our packages can reach.
func (p *program) violations() []violation {
	s := &search{program: p, from: make(map[*ssa.Function]mention), told: make(map[string]bool)}
	for f := range p.functions {
		if p.own[packageOf(f)] {
			s.from[f] = mention{}
			s.queue = append(s.queue, f)
		}
	}
	slices.SortFunc(s.queue, func(a, b *ssa.Function) int { return cmp.Compare(a.String(), b.String()) })
	for len(s.queue) > 0 {
		f := s.queue[0]
		s.queue = s.queue[1:]
		s.leave(f)
	}
	return s.found
}

// leave follows all functions that f calls or mentions.
func (s *search) leave(f *ssa.Function) {
	if len(f.Blocks) == 0 && !bodyless(packageOf(f)) {
		s.report(f, mention{}, "has no Go body to look into")
	}
	if node := s.program.calls.Nodes[f]; node != nil {
		for _, edge := range node.Out {
			at := token.NoPos
			if edge.Site != nil {
				at = edge.Site.Pos()
			}
			s.arrive(edge.Callee.Func, mention{f, at}, edge.Site)
		}
	}
	var operands [10]*ssa.Value
	for _, block := range f.Blocks {
		for _, instruction := range block.Instrs {
			site, _ := instruction.(ssa.CallInstruction)
			for _, operand := range instruction.Operands(operands[:0]) {
				if g, ok := (*operand).(*ssa.Function); ok {
					s.arrive(g, mention{f, instruction.Pos()}, site)
				}
			}
		}
	}
}

// arrive checks g and queues it if it is neither forbidden nor trusted.
func (s *search) arrive(g *ssa.Function, by mention, site ssa.CallInstruction) {
	why, goOn := check(by.caller, g, site)
	if why != "" {
		s.report(g, by, why)
		return
	}
	if _, seen := s.from[g]; seen || !goOn {
		return
	}
	s.from[g] = by
	s.queue = append(s.queue, g)
}

// report records the path to g, once for each of our functions and each target.
func (s *search) report(g *ssa.Function, by mention, why string) {
	path, origin := []step{{name: nameOf(g)}}, packageOf(g)
	for by.caller != nil {
		origin = packageOf(by.caller)
		path = append(path, step{by.caller.String(), by.caller.Prog.Fset.Position(by.at)})
		by = s.from[by.caller]
	}
	slices.Reverse(path)
	v := violation{origin, path, why}
	if key := path[0].name + " " + v.target(); !s.told[key] {
		s.told[key] = true
		s.found = append(s.found, v)
	}
}
