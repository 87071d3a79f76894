// SPDX-License-Identifier: Apache-2.0

// Package lmcachesim simulates LMCache beside simulated engines: the multi-process
// server of a node (Node) and the coordinator of a fleet (Coordinator). They have
// the endpoints, answers and errors of LMCache's HTTP APIs as of late 2026, and no KV
// data.
//
// Staging depends on these properties, so they are as in LMCache:
//   - There are two tiers of chunks with least recently used eviction: L1 in CPU
//     memory and L2 on disk.
//   - The disk reads one chunk after the other, at its speed.
//   - Chunks reach the GPU at a speed of their own, and only when the engine
//     schedules a request.
//   - Staged chunks stay in L1. Chunks that an engine loads from the disk for itself
//     do not.
//   - A job reports its end once.
//
// These are simpler: a store is written to both tiers at once and at no cost, all
// ranks of a model move together, chunks have another hash, and the directory is
// behind only after ReportEvery.
//
// Times are simulated. They are those of the engine that has the Node as its
// enginesim.Config.External, or else of a clock of the Node's own.
//
// api_test.go tests the endpoints of both servers, service_test.go both with
// internal/lmcache and a simulated engine.
package lmcachesim
