// SPDX-License-Identifier: Apache-2.0

// Package kvindex keeps what engines report to hold, and which text leads to which
// tokens. So a prompt can be matched against an engine's real state without being
// tokenized first.
//
// A [Feed] enters the events of one publisher in a radixcache.Tree, as chains of
// hashes of its own over the token ids in the events. The engines' hashes differ
// between versions, settings and processes, and only serve as names. A hash of the
// index covers the block's tokens, the block size, what else went into the block
// (salt, media) and all blocks before it, under a seed that is random for each
// process: nothing readable is kept.
//
// [Index.Link] enters one tokenized prompt: its chain of text blocks, the hashes of
// its token blocks, and for each text block how many tokens there are up to its end
// (an [Anchor]). [Index.Match] follows these links for a new prompt: it returns the
// hashes of the tokens that the longest linked prefix of its text stands for, for
// Tree.Lookup. [AlignTokens] makes anchors from the texts of the tokens.
//
// # Memory
//
// Links and the times at which entries expire lie in segments of 64 KiB without
// pointers. They take at most a quarter (LimitDivisor) of the limit given to
// [Index.SetLimit]. The function given to [New] is told of every change, before
// memory is taken and after it is given back, so that the tree can have the rest. A
// segment that was given back but not yet collected by Go is not counted, as in
// radixcache.
//
// The record of a text block takes 24 bytes and 8 for each token block that ends in
// it, and 11 to 21 in the table that finds it.
//
// At the limit the oldest records go. One that was matched or linked again since it
// was written is written once more instead (second chance).
//
// # Locks
//
// Match takes a read lock. Link holds the write lock for at most 64 records at a
// time, and longer only where it divides a page of the table (8,192 slots) or takes
// a whole segment from the oldest records. Nothing else is done under these locks.
//
// # Tests
//
// index_test.go tests all of it with conversations and engines. feed_test.go compares
// feeds, expiry and chunks with a model; link_log_test.go tests the log, its table and
// reclaiming; link_test.go tests spaces and links; alignment_test.go fuzzes the aligner.
package kvindex
