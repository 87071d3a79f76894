// SPDX-License-Identifier: Apache-2.0

// Package kvevents follows the KV events that inference engines publish: vLLM (all
// versions with events), SGLang, and compatible publishers.
//
// Decoder reads batches of events. Subscriber follows publishers, each over one
// ZMTP connection: it reads history where the engine keeps it, then the live
// stream. It finds and closes gaps, and notices restarts and losses that silence
// hides. It passes the events to a Sink, with how far they can be relied on
// (Knowledge). Listener accepts publishers that connect to us.
//
// Every byte comes from outside. A publisher that misbehaves costs its own
// connection and bounded memory: 16 MiB for a message and 256 MiB for all large
// ones under way, 256 KiB of waiting live batches for each publisher and 256 MiB
// beyond that for all, 32 MiB of history for each of eight at a time. Its batches
// take half a core over time, those of all publishers half of the cores. Many
// messages that are no batches end the connection.
//
// decode_test.go covers the decoder with its fields and keywords,
// subscription_test.go the subscription with its position and replay,
// hostile_test.go the limits and the queue. The tests have a publisher in memory
// (fake_test.go, faults_test.go) and one over TCP (peer_test.go); wire_test.go
// encodes batches.
package kvevents
