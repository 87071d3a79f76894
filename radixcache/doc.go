// SPDX-License-Identifier: Apache-2.0

// Package radixcache records which upstream holds which prompt prefix in its KV
// cache. It is a path-compressed radix tree over chains of block hashes. It never
// takes more bytes than its limit: at the limit the oldest claims go.
//
// A chain element commits to everything before it (a chained hash), so two
// chains that are equal at position i are equal up to i. So a lookup can jump: it
// looks for the runs that start at blocks 0, 64, 128, ... side by side, and compares
// blocks one by one only inside the last run it finds.
//
// # Structure
//
//   - A run is a piece of the tree without a branch, of at most 64 blocks (MaxRun).
//     Runs end at every multiple of 64 and at every branch; they are split where
//     chains part and joined again when the branch is gone.
//   - A claim says which blocks of a run one upstream holds, as a set, so there may
//     be holes (DropBlock, Removed). Where engines report events, a record keeps
//     their keys and the copies of each block in each tier (Stored, Removed,
//     BlocksByTier).
//   - A holder is the word of a claim that lookups read: how many blocks of the
//     run the upstream holds without a hole since the root. Each change keeps it
//     right, so that lookups need not read the runs above.
//
// The bit layout of all of these is in layout.go, and only there.
//
// Each claim has an age. Insert and Stored make a claim, and all its parent claims,
// the youngest of the upstream; lookups do not. Eviction drops the oldest claim of
// all, which never has child claims; a block goes with its last claim. So age is
// exact to one run, and an upstream that is busy with a prefix does not keep
// another's old claim on it alive.
//
// # Memory
//
// Everything but names lies in segments of 64 KiB without pointers. The garbage
// collector sees one word for each. A segment is cut into pages of 4 KiB, each
// for objects of one size. Sparse pages are cleared by moving their objects, so no
// more than a page of each of 30 kinds is ever lost, and lowering the limit gives
// whole segments back. Tables grow by one bucket at a time. On W1 (2.97
// million blocks, 3.95 million pairs of a block and an upstream, 67,772 runs of
// 44 blocks on average, 93,504 claims), bytes for each block:
//
//	8.3   hashes: 8 each, rounded up to lines of 64 bytes a run
//	1.5   runs: a line each, with up to two holders
//	2.0   claims: a line each
//	0.3   buckets of the index: a line for five runs
//	0.15  lists of holders of runs with more than two, overflow buckets
//	------
//	12.4  measured, with the free room in pages and segments
//
// That is 1.59 million blocks of W1 under 20 MB. Reported by events, with keys and
// copies, a pair costs 40 bytes (BenchmarkEvents). The worst case is a tree of
// single blocks: 64 for the run, 64 for the claim and about 15 for the index.
//
// Stats.Bytes counts segments, the lists that find them, the table of upstreams
// with their names, and the Tree itself (some 42 KiB). Garbage that Go has not collected
// yet, such as a segment just given back, is not in it. A limit too low for that
// and one segment leaves the tree empty.
//
// # Locks
//
// Everything that changes the tree holds one mutex, for a counted amount of work
// (lock.go); longer operations let others in between. No lock is held across anything
// slow. Lookups take none: every word they read is read atomically, under the
// version number of its run (one of 4,096), and read again when that has changed;
// after 32 attempts a lookup takes the mutex. So each Match was true at a moment
// during the call, but matches of different upstreams may be of different moments.
//
// When an upstream loses or regains a block, the blocks behind it stop to count,
// leaves first, or count again, root first (propagate.go). Until the call returns,
// lookups answer what was true before it, what is true after it, or less than both.
//
// The longest time that others wait for the lock, in processor time, on the shapes
// that are hardest on one step each (go test -run - -bench Steps; the same machine as
// below; TestNoLongLock bounds the work in units):
//
//	shape                                                     us held
//	lose and regain a block with 10,000 children              60
//	lose and regain a block under 100,000 claims              75
//	store and remove, from the front, a chain of 2,000 runs   150
//	insert a known chain of 4,000 blocks, 4,096 holders       20
//	forget one of 4,096 holders of a chain                    40
//	fill a full tree, with a run of 10,000 children to move   80
//	split and join a run of 4,096 holders                     630 to 710
//	the same of 100 holders with a key for each block         325
//
// Splitting and joining a run is the one step that is not divided: all its holders
// change at once, or lookups would have to look for each in two places. It takes
// about 0.16 us a holder, and 3 us a holder with keys. It reaches 1 ms at 4,096
// upstreams that share a run, the most there can be, on a machine that is a half
// slower; with keys, at 300. The other bound is the longest chain. Dropping a claim
// walks down to a leaf (Cut), and storing behind a block walks up from it (Stored), a
// step for 64 blocks; HeldBeyond walks along one. Lowering the limit moves a run of
// more than 4,096 claims whole when there is no other room. Growing the directory of
// segments copies 8 bytes for each 64 KiB of the tree in one step.
//
// # Speed
//
// Workload W1 (package w1) on two cores of an AMD EPYC shared with other work, by
//
//	cd integration/bench/radix && go test -run - -bench W1 -benchtime 1x -timeout 30m
//
// One lookup is for all 64 upstreams, without hashing, and its chain is not in the
// processor's cache. The ns are for each block of each recorded prompt. The lookups a
// CPU-second run beside 10 % writes, on one and on two threads. "by" is the lookups of
// two threads by those of one, from the processor time that they take and the time
// that they wait for locks.
//
//	index                       p50 / p99 us  ns a block  bytes a block  lookups a CPU-second at 1, 2  by    remove one  right
//	radixcache                  0.72 / 2.5    10          12.4           991k, 907k                            1.82  0.8 ms      2000 of 2000
//	radixcache, 20 MB           0.59 / 2.1    13          12.6           944k, 864k                            1.80  0.4 ms      2000 of 2000
//	flat table, jump search     1.49 / 4.4    25          22.6           592k, 457k                            1.35  1.3 ms      2000 of 2000
//	flat table, block by block  3.17 / 57     27          22.6           237k, 186k                            1.37  1.3 ms      2000 of 2000
//	Go map, jump search         1.68 / 5.4    61          25.4           346k, 264k                            1.23  49 ms       2000 of 2000
//	Go map, block by block      5.10 / 74     56          25.4           126k, 97k                             1.28  49 ms       2000 of 2000
//	go-immutable-radix          10.7 / 43     3118        398            12k, 10k                              1.49  343 ms      2000 of 2000
//
// The machine was quiet for the first rows, and not always for the last three. While
// it was busy with builds, our p50 lay between 0.79 and 1.10 us in eight runs and our
// p99 between 2.7 and 3.7; removal, a wall time, once took 6.7 ms.
//
// The rivals know 64 upstreams, no age, no limit and no holes. With the limit of
// 20 MB an answer counts as right when it is never longer than the truth.
//
// # Tests
//
// model_test.go has a slow and obvious model of the tree, and runs both side by side;
// validate_test.go recounts everything a tree notes about itself. The tests of
// claims, runs, holders, hash tables, records and moved objects are these two, under
// random operations: alone (model_test.go, fuzz_test.go), at the limit
// (limit_test.go), and while an operation lets others in (yield_test.go).
package radixcache
