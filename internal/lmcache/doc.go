// SPDX-License-Identifier: Apache-2.0

// Package lmcache has KV blocks staged by LMCache: brought from an engine
// node's disk or remote storage up to its CPU memory (DRAM), before the engine
// schedules the request that needs them. Nothing here, and nothing in LMCache
// or an engine, fills the GPU from outside: the engine does that itself when it
// schedules the request, and it does it faster from DRAM than from disk.
//
// There are two ways to reach LMCache, behind one Client: each node's own
// multi-process server (Node), and a coordinator that knows all nodes
// (Coordinator) and can also be asked who holds a prefix. A Service around one
// of them stays out of the way: it runs beside the requests, asks each node only
// so often, only once for what is already under way, and not at all for a while
// after it has failed.
//
// All of it is hints. A node that hangs, lies or is not there costs nobody
// anything but the time a caller has chosen to wait. What is answered is
// bounded in size and time and none of its text gets out. The token ids of a
// prompt are only read while a request is being sent, and are handed back
// right after.
package lmcache
