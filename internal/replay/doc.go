// SPDX-License-Identifier: Apache-2.0

// Package replay replays a trace of requests against simulated engines in
// virtual time, once per routing policy, and measures what clients would have
// seen: cached prompt tokens, time to first token, time per output token.
//
// The kv_aware policy is the product's own code (package fleet), given only
// what a gateway can know. The rivals are written from the formulas their
// projects publish; those that read engine state get it here exact and without
// delay, which is more than they have in the field.
//
// # The engine
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
package replay
