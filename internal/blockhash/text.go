// SPDX-License-Identifier: Apache-2.0

// Package blockhash makes chains of block hashes. Each hash covers its block and all
// blocks before it, so equal hashes mean equal prefixes.
package blockhash

import "github.com/cespare/xxhash/v2"

// Text cuts a stream of text into blocks of a fixed number of bytes and hashes them.
// The hash of a block is XXH64 seeded with the hash of the block before; the first
// seed is the root (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
// It must not be used before Start.
type Text struct {
	Chain []uint64 // hashes of the blocks that have ended

	digest xxhash.Digest
	size   int
	open   int
}

// Start begins a chain with a root, in blocks of size bytes. It keeps the memory of
// Chain.
func (t *Text) Start(root uint64, size int) {
	t.Chain, t.size, t.open = t.Chain[:0], size, 0
	t.digest.ResetWithSeed(root)
}

// Add appends text, which ends blocks as it fills them.
func (t *Text) Add(text []byte) {
	for len(text) > 0 {
		n := min(len(text), t.size-t.open)
		_, _ = t.digest.Write(text[:n])
		t.open += n
		text = text[n:]
		if t.open == t.size {
			t.EndBlock()
		}
	}
}

// Open returns the length of the open block in bytes.
func (t *Text) Open() int { return t.open }

// Sum returns a hash of all text so far.
func (t *Text) Sum() uint64 { return t.digest.Sum64() }

// EndBlock ends the open block, however short it is.
func (t *Text) EndBlock() {
	h := t.digest.Sum64()
	t.Chain = append(t.Chain, h)
	t.digest.ResetWithSeed(h)
	t.open = 0
}
