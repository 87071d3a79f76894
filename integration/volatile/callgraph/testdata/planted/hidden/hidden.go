// SPDX-License-Identifier: Apache-2.0

// Package hidden has what the search cannot look into. want: github.com/bauxite/caddy-kvaware/integration/volatile/callgraph/testdata/planted/hidden.assembled github.com/bauxite/caddy-kvaware/integration/volatile/callgraph/testdata/planted/hidden.now
package hidden

import _ "unsafe" // for linkname

//go:linkname now runtime.nanotime
func now() int64

func assembled() int

// Look calls both.
func Look() int64 { return now() + int64(assembled()) }
