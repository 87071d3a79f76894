// SPDX-License-Identifier: Apache-2.0

// Package residency keeps what engines say they hold, and which text leads to
// which tokens, so that a prompt can be matched against an engine's real state
// with no tokenization on the way.
//
// A [Feed] enters what one publisher of KV events says in a radixcache.Tree, as
// chains of own hashes over the token ids in the events: engines' hashes differ
// between versions, settings and processes, and are only used as names. An own
// hash commits to the block's tokens, the block size, what else went into the
// block (salt, media) and all blocks before it, under a seed that is random for
// each process: nothing readable is kept.
//
// [Index.Link] enters one tokenised prompt: its chain of text blocks, the own
// hashes of its token blocks, and for each text block how many tokens there are up
// to its end (an [Anchor]). [Index.Follow] goes the same way for a new prompt: the
// own hashes of the tokens that the longest linked prefix of its text stands for,
// which Tree.Lookup then looks up. [AlignTokens] makes anchors out of the texts of
// the tokens.
//
// # Memory
//
// Links and the times at which entries of tiers without removals end lie in
// segments of 64 KiB without pointers, at most a quarter (Share) of the limit given
// to [Index.SetLimit]. Every change is told to the function given to [New] before
// memory is taken and after it is given back, so that the tree's own limit can be
// what is left. What a segment just given back costs until Go has collected it is
// not counted, as in radixcache.
//
// A record of a text block takes 24 bytes and 8 for each token block that ends in
// it, and 11 to 21 in the table that finds it.
//
// At the limit the oldest records go, but one that was followed or linked again
// since it was written is written once more instead (second chance).
//
// # Locks
//
// Follow takes a read lock. Link holds the write lock for at most 64 records at a
// time, and longer only where it divides a page of the table (8,192 slots) or takes
// a whole segment from the oldest records. Nothing else is done under these locks.
package kvindex
