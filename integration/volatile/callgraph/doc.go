// SPDX-License-Identifier: Apache-2.0

// Package callgraph proves over the program's call graph that no code of the
// gateway can write a file. It is a module of its own: users of the gateway do
// not build the analysis, and it does not build the gateway.
//
// The graph is made with variable type analysis (VTA: Sundaresan et al.,
// "Practical Virtual Method Call Resolution for Java", OOPSLA 2000) as
// golang.org/x/tools/go/callgraph/vta does it. Every function of our packages
// is an entry, exported or not, because Caddy calls handlers through
// interfaces and the search does not go through Caddy. A function that is
// only mentioned, not called, counts as called.
//
// What the search cannot see is forbidden instead: calls by reflection,
// functions without a Go body, and linknames in our packages.
package callgraph
