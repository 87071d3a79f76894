// SPDX-License-Identifier: Apache-2.0

// Package enginesim simulates a vLLM node: an HTTP server with vLLM's endpoints,
// answer formats, metrics names, prefix cache and queue, but without a model.
// Tests and the kv-demo command run many nodes in one process to see the cost of
// routing decisions.
//
// Package replay has a second simulation: it needs only virtual time, and replays a
// whole trace under a dozen policies in a second. The Scheduler here steps
// through every decoded token, as a server that streams them must, and keeps
// copies and order of the blocks, as KV events need.
//
// Routing depends on these parts, which work as in vLLM:
//
//   - the prefix cache: chained hashes of full blocks of BlockTokens tokens, a
//     budget of CacheBlocks blocks, reference counts, least recently used
//     eviction of free blocks with the end of a prompt before its beginning,
//     generated tokens cached like prompt tokens, and the last prompt token
//     always computed again;
//   - the queue: prefill is one shared resource served first come first
//     served in chunks between decode steps, at most MaxBatch requests run,
//     and a request without room for its blocks waits;
//   - the KV events: each copy of a block that the cache stores or evicts, in
//     one batch per step, over ZMTP with replay (see EventsConfig). Applying all
//     events gives exactly the cache. Changes of an External's chunks can follow;
//   - the tokens: /tokenize and the render endpoints give the same ids that the
//     node computes and publishes;
//   - the clock: time to first token follows from cache and queue by arithmetic,
//     in simulated time that Speed maps to real time.
//
// These parts are simpler than in an engine:
//
//   - tokens: four ASCII bytes or one other character are one token (see
//     AppendTokens), the chat template is a plain one with role markers;
//   - different images have different tokens, so no block has extra keys for them;
//   - events leave with their step, and a reset leaves at once, also during a
//     replay, while vLLM publishes nothing then;
//   - SGLang's events describe this cache, with copies and salts;
//   - a request gets all its blocks when it starts, so nothing is ever
//     preempted;
//   - the answers: words from a generator seeded with the prompt, or the text of
//     Config.Responder.
//
// The HTTP API follows vLLM as of late 2026. The Server header and GET /version
// name the simulation, so that it is never mistaken for an engine.
//
// # Tests
//
// formats_test.go tests every API, openai_test.go streams and token sharing,
// engine_test.go and request_test.go the HTTP server. events_test.go compares
// events with the cache, eventclient_test.go decodes them with code of its own,
// and follow_test.go and libzmq_test.go follow them with the gateway's client
// and with libzmq. publisher_test.go tests sockets, queues and replay.
package enginesim
