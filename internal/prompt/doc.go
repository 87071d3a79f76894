// SPDX-License-Identifier: Apache-2.0

// Package prompt finds the prompt in the JSON of each LLM API, in the order in
// which engines render it.
//
// A [Document] reads a request body once, strictly. It lists every string for
// the scrubber, those of the prompt first, and the segments of the engine's
// prompt. Changed strings are spliced back into the original bytes: all others
// stay byte for byte as the client sent them, and a clean body stays the same
// slice. A [Dialect] describes one API.
//
// The package has no global state but a hash seed, and never puts a byte of the
// body into an error.
//
// Tests of one file stand beside it. complete_test.go holds that every string
// is listed, prefix_test.go that turn N+1 has turn N as its prefix, alloc_test.go
// that nothing is allocated; golden_test.go is the slow model of the parser.
package prompt
