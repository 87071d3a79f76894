// SPDX-License-Identifier: Apache-2.0

// Package lmcache has LMCache stage KV blocks: bring them from an engine node's disk
// or remote storage up to its CPU memory, before the engine schedules the request
// that needs them. Only the engine itself can fill its GPU. It does so when it
// schedules the request, and faster from CPU memory than from disk.
//
// A Client reaches LMCache in one of two ways: through the multi-process server of
// each node (Node), or through a coordinator that knows all nodes (Coordinator) and
// can also be asked which nodes hold a prefix. A Service uses a Client in the
// background. It limits the rate for each node, stages a prefix only once at a time,
// and leaves a node alone for a while after it has failed.
//
// A node that hangs, lies or is absent delays no request for longer than its caller
// chooses to wait. Answers are bounded in size and time, and none of their text gets
// out. The token ids of a prompt are read only while an order is being sent, and are
// released right after.
//
// service_test.go tests the Service and its stagings; contract_test.go tests both
// Clients, their requests and their answers.
package lmcache
