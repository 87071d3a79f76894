// SPDX-License-Identifier: Apache-2.0

// Package prompt knows where prompts sit in the JSON of each LLM API and in
// which order engines render them.
//
// A [Document] reads a request body once, strictly, and lists every string a
// scrubber has to look at (the rendered ones first, in render order) and the
// segments the engine's prompt is made of. Changed strings are spliced back
// into the original bytes: whatever was not changed stays byte for byte as the
// client sent it, and a clean body stays the very same slice.
//
// The package imports the standard library only, holds no global state but a
// hash seed, and never puts a byte of the body into an error.
package prompt
