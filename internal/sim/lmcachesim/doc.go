// SPDX-License-Identifier: Apache-2.0

// Package lmcachesim is a simulation of LMCache beside simulated engines: the
// multi-process server of a node (Node) and the coordinator of a fleet
// (Coordinator), with the endpoints, answers and errors of their HTTP APIs as of
// late 2026, and without any KV data.
//
// What is real in it, because staging depends on it: two tiers of chunks with
// sizes and least recently used eviction, L1 in CPU memory and L2 on disk; a
// disk that reads one chunk after the other at its speed, whoever asks; a way
// to the GPU with its own speed, used only when the engine schedules a
// request; staged chunks that stay in L1, and chunks that an engine loads from
// the disk for itself, which do not; jobs that tell of their end once.
//
// What is simpler: every store is written through to both tiers at no cost,
// all ranks of a model are moved together, the hash of a chunk is not
// LMCache's, and a directory is only behind if it is told to be.
//
// Times are simulated: those of the engine that a Node is given to as
// enginesim.Config.External, or of a clock of its own.
package lmcachesim
