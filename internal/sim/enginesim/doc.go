// SPDX-License-Identifier: Apache-2.0

// Package enginesim is a simulation of a vLLM node: an HTTP server with
// vLLM's endpoints, answer shapes, metrics names, prefix cache and queue, and
// without a model. Tests and the kv-demo command run fleets of it in one
// process to see what a routing decision costs.
//
// What is real in it, because routing depends on it:
//
//   - the prefix cache: chained hashes of full blocks of BlockTokens tokens, a
//     budget of CacheBlocks blocks, reference counts, least recently used
//     eviction of free blocks with the end of a prompt before its beginning,
//     generated tokens cached like prompt tokens, and the last prompt token
//     always computed again;
//   - the queue: prefill is one shared resource served first come first
//     served in chunks between decode steps, at most MaxBatch requests run,
//     and who finds no room for its blocks waits;
//   - what it publishes: each block that a cache stores or gives up, copy by
//     copy, in one batch for each step, over ZMTP with replay (see
//     EventsConfig). Applying all of it gives exactly the cache; and, if asked to,
//     what becomes of an External's chunks;
//   - what it says of tokens: /tokenize and the render endpoints give the very
//     ids that are computed and published;
//   - the clock: time to first token follows from the two above by
//     arithmetic, in simulated time that Speed maps to real time.
//
// What is simulated, and simpler than an engine:
//
//   - tokens: four ASCII bytes or one other character are one token (see
//     AppendTokens), the chat template is a plain one with role markers;
//   - images are told apart by their tokens, so no block has extra keys for them;
//   - events leave with the step that they are of, and a reset at once, also
//     while a replay is under way, during which vLLM publishes nothing;
//   - SGLang's blocks are this cache's, with copies, and differ by salt;
//   - a request gets all its blocks when it starts, so nothing is ever
//     preempted;
//   - the text of the answers: words drawn by a generator seeded with the
//     prompt, or whatever Config.Responder says.
//
// The answers follow vLLM's HTTP surface as of late 2026. The Server header
// and GET /version name the simulation, so nobody can take it for an engine.
package enginesim
