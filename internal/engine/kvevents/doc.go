// SPDX-License-Identifier: Apache-2.0

// Package kvevents follows what inference engines publish about their KV
// caches: vLLM (all versions with events), SGLang, and what speaks like them.
//
// Decoder reads batches of events. Set follows publishers, each over one ZMTP
// connection: it reads history where that is kept, then the live stream, finds
// and closes gaps, notices restarts and losses that silence hides, and tells a
// Sink the events and, always, how far they can be relied on (Knowledge).
// Listener accepts publishers that connect to us.
//
// Every byte comes from outside. A publisher that misbehaves costs its own
// connection and bounded memory: a message is 16 MiB at most, all large ones
// under way 256 MiB, live batches that wait 256 KiB for each publisher and
// 256 MiB beyond that for all, histories 32 MiB for each of eight at a time. Its
// batches take half a core over time, and those of all publishers half of the
// cores; messages that are no batches end the connection when there are many.
package kvevents
