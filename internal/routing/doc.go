// SPDX-License-Identifier: Apache-2.0

// Package routing knows the engines and picks one for each request. It knows no
// HTTP and no clock: the time is handed in, so the same code routes real traffic
// and replays traces in virtual time.
//
// For each candidate it predicts the time to first token:
//
//	wait for the prefill already queued there + this request's own prefill
//
// Both are uncached prompt tokens times the cost of a token there. The wait is
// longer where the KV cache has no room for the prompt before other requests end
// (see cacheUsage), and where answers are not streamed and the engine reports more
// that waits (see backlog). The score adds what a growing batch costs the rest of
// the answer (see addDecodeDelays), what the request's prefill costs those that
// come after it (see computeScore), and the candidate's penalty. The unit is time,
// so there is nothing to weigh: a prefix that many requests share spills to a
// second upstream exactly when waiting for it costs more than computing it again.
//
// A radix tree of prompt-prefix hashes says which upstream caches a prefix. The
// rest is learned: the cost of a token from the times of first tokens, what running
// decodes add to it, what the requests of one batch add to each other's answers,
// and the size of each KV cache from the cached tokens that answers report or their
// times imply.
package routing
