// SPDX-License-Identifier: Apache-2.0

// Package replay replays a trace of requests against simulated engines in
// virtual time, once per routing policy. It measures cached prompt tokens, time
// to first token and time per output token.
//
// The kv_aware policy is the product's own code (package routing) and gets only
// what a gateway can know. The rivals follow the formulas that their projects
// publish. Those that read engine state get it exactly and without delay, which
// favours them.
//
// # The engine
//
// This package has a simulation of its own beside enginesim.Scheduler, because
// the two have different tasks. Here an engine computes the time of its
// next first token or end of an answer directly, so that a dozen policies
// replay 12,000 requests in a second, and a prompt's true cost can be noisy. The
// Scheduler steps through every decoded token, as an HTTP server that streams
// them must, and keeps the copies and the order of vLLM's blocks, which its KV
// events publish.
//
// An engine prefills first come, first served at a fixed number of tokens a
// second, and keeps KV blocks as vLLM does: blocks of running requests are
// pinned, the others are evicted least recently used first, a prompt's end
// before its beginning. A prompt's cached part is looked up when its prefill
// begins; its last token is always computed. Prefill goes before decode: while
// a whole prompt is prefilled the running answers stand still; at other times
// all of them gain one token every DecodeStep + n*DecodePerSequence. With Chunk
// set, a step holds up to that many prompt tokens, of several prompts if they
// fit, and one token of every running answer. Answers occupy no KV blocks, and
// the network takes no time.
//
// Everything is deterministic for one seed.
//
// # Tests
//
// policies_test.go tests all policies and the bounds, kvaware_test.go the
// room that kv_aware makes for blocks, herd_test.go the copies that it makes for
// many equal prompts at once, starve_test.go that a slow engine takes no work from
// the others, and order_test.go the order of all policies on whole traces.
// read_test.go tests every format, report_test.go every kind of output.
// engine_test.go and cache_test.go compare with slow, obvious models.
package replay
