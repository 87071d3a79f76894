// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"encoding/binary"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/cespare/xxhash/v2"
)

// Signature is what a scrubbed prompt is remembered by: a chain of block
// hashes, each of which commits to everything before it. Equal elements at
// index i mean equal prefixes of i+1 blocks (for the same key, model, tenant,
// API and block size). It holds no text and can be kept after the request.
//
// [Exchange.Sign] is the only way to one, and it reads the scrubbed rendition
// only: that is how unscrubbed text never gets into the tree. The zero value
// is the signature of nothing.
type Signature struct {
	chain     []uint64
	blockSize int
	prompt    int
	covered   int
	media     int
	cut       bool
	variant   uint64
	ends      [MaxEnds]End
	numEnds   int
}

// MaxEnds is how many ends of messages a Signature has at most, the last ones.
const MaxEnds = 8

// End is where a message ends in the rendition: Hash commits to all of it up
// to Bytes. The next turn of a conversation has the same End, as long as it is
// the same up to there. Answered says that the message behind it is the model's:
// what is before it was a prompt once.
type End struct {
	Bytes    int
	Hash     uint64
	Answered bool
}

// answerStart is how the rendition of a model's message starts.
var answerStart = append([]byte{prompt.TagSegment, byte(prompt.SegmentRole)}, "assistant"...)

// Chain returns the block hashes, first block first. It must not be changed.
func (s Signature) Chain() []uint64 { return s.chain }

// BlockSize is the size of a block in bytes of rendition.
func (s Signature) BlockSize() int { return s.blockSize }

// PromptBytes is the size of the whole rendition in bytes: the measure for
// how much of the prompt a match covers. It is near, but not equal to, the
// size of what the engine's chat template makes of the prompt.
func (s Signature) PromptBytes() int { return s.prompt }

// CoveredBytes is how many bytes of the rendition the chain stands for. All
// but the last block have BlockSize bytes each; the last one may be shorter
// when Cut.
func (s Signature) CoveredBytes() int { return s.covered }

// Media is how many images, sounds and files the prompt has. PromptBytes counts
// a few bytes for each of them, whatever their size.
func (s Signature) Media() int { return s.media }

// Cut reports whether the depth limit left out a part of the prompt.
func (s Signature) Cut() bool { return s.cut }

// Variant is a digest of the options that change the prompt's tokens but not
// its rendition, 0 without any: see prompt.Document.
func (s Signature) Variant() uint64 { return s.variant }

// Ends returns where the last messages of the prompt end, first message first,
// the options and leading system messages counting as one; a prompt without
// messages ends like a message. One that is cut has none.
func (s Signature) Ends() []End { return s.ends[:s.numEnds] }

// sign hashes the rendition of a scrubbed document in runs of blockSize bytes:
// h0 = XXH64 over what the signature depends on beside the text, h[i] = XXH64
// of run i seeded with h[i-1] (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
//
// With depth > 0 the chain ends at the end of message depth-1, and the last,
// shorter run is hashed too: what follows cannot move that end. Without a cut
// a shorter last run is left out, since the next turn will go on in it.
func sign(d *prompt.Document, api prompt.API, key []byte, model, tenant string, blockSize, depth int) Signature {
	c := chainer{blockSize: blockSize, depth: depth}
	c.digest.ResetWithSeed(root(api, key, model, tenant, blockSize))
	c.chain = make([]uint64, 0, len(d.Body)/blockSize+1)
	d.Render(c.add)
	if c.cut && c.filled > 0 {
		c.endBlock()
	}
	s := Signature{
		chain: c.chain, blockSize: blockSize, prompt: c.prompt, covered: c.covered,
		media: d.Media, cut: c.cut, variant: d.Variant,
	}
	if c.prompt > 0 && !c.cut {
		c.endMessage()
		s.ends, s.numEnds = c.ends, c.numEnds
	}
	return s
}

// root is the hash before the first block. Every part has a length in front,
// so no two different lists of parts give the same bytes.
func root(api prompt.API, key []byte, model, tenant string, blockSize int) uint64 {
	var d xxhash.Digest
	d.Reset()
	var n [8]byte
	number := func(v int) {
		binary.LittleEndian.PutUint64(n[:], uint64(v))
		_, _ = d.Write(n[:])
	}
	number(len(key))
	_, _ = d.Write(key)
	number(len(model))
	_, _ = d.WriteString(model)
	number(len(tenant))
	_, _ = d.WriteString(tenant)
	number(int(api))
	number(blockSize)
	return d.Sum64()
}

// chainer cuts a stream of chunks into blocks.
type chainer struct {
	digest    xxhash.Digest
	chain     []uint64
	blockSize int
	depth     int
	filled    int // bytes of the open block
	prompt    int
	covered   int
	cut       bool
	message   int32
	ends      [MaxEnds]End
	numEnds   int
}

// end notes that a message ends here.
func (c *chainer) endMessage() {
	if c.numEnds == MaxEnds {
		copy(c.ends[:], c.ends[1:])
		c.numEnds--
	}
	c.ends[c.numEnds] = End{Bytes: c.prompt, Hash: c.digest.Sum64()}
	c.numEnds++
}

// add takes one chunk of a message. It goes on counting behind the cut.
func (c *chainer) add(message int32, chunk []byte) bool {
	if message != c.message {
		c.endMessage()
		c.message = message
		c.ends[c.numEnds-1].Answered = bytes.HasPrefix(chunk, answerStart)
	}
	c.prompt += len(chunk)
	if c.depth > 0 && int(message) >= c.depth {
		c.cut = true
	}
	for !c.cut && len(chunk) > 0 {
		n := min(len(chunk), c.blockSize-c.filled)
		_, _ = c.digest.Write(chunk[:n])
		c.filled += n
		chunk = chunk[n:]
		if c.filled == c.blockSize {
			c.endBlock()
		}
	}
	return true
}

// close ends the open block.
func (c *chainer) endBlock() {
	h := c.digest.Sum64()
	c.chain = append(c.chain, h)
	c.digest.ResetWithSeed(h)
	c.covered += c.filled
	c.filled = 0
}
