// SPDX-License-Identifier: Apache-2.0

// Package commands holds the sub-commands that this module adds to Caddy:
// kv-demo, kv-replay, kv-bench and pii-scan. They print to standard output; none
// writes a file.
//
// demo_test.go and bench_test.go test all files of their command.
package commands
