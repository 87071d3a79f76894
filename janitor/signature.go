// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"encoding/binary"

	"github.com/bauxite/caddy-kvaware/internal/blockhash"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/cespare/xxhash/v2"
)

// Signature identifies a scrubbed prompt by a chain of block hashes, each of
// which covers everything before it. Equal elements at index i mean equal
// prefixes of i+1 blocks, for the same key, model, tenant, API and block size. It
// holds no text and can be kept after the request.
//
// Only [Exchange.Sign] makes one, and it reads only the scrubbed rendition. So
// unscrubbed text never gets into the tree. The zero value is the signature of
// nothing.
type Signature struct {
	chain     []uint64
	blockSize int
	prompt    int
	covered   int
	media     int
	cut       bool
	variant   uint64
	noCache   bool
	doubtful  bool
	ends      [MaxEnds]End
	numEnds   int
}

// MaxEnds is the most ends of messages that a Signature has: those of the last.
const MaxEnds = 8

// End is the end of a message in the rendition. Hash covers the first Bytes bytes
// of the rendition. The next turn of a conversation has the same End if it is the
// same up to there. Answered says that the next message is the model's, so all
// before it was a prompt once.
type End struct {
	Bytes    int
	Hash     uint64
	Answered bool
}

// answerStart starts the rendition of a model's message.
var answerStart = append([]byte{prompt.TagSegment, byte(prompt.SegmentRole)}, "assistant"...)

// Chain returns the block hashes in order. It must not be changed.
func (s Signature) Chain() []uint64 { return s.chain }

// BlockSize returns the size of a block in bytes of the rendition.
func (s Signature) BlockSize() int { return s.blockSize }

// PromptBytes returns the size of the whole rendition in bytes. It is close to
// the size of the prompt that the engine's chat template makes, not equal.
func (s Signature) PromptBytes() int { return s.prompt }

// CoveredBytes returns the number of bytes of the rendition that the chain
// covers. Each block has BlockSize bytes, but the last one of a Cut signature may
// be shorter.
func (s Signature) CoveredBytes() int { return s.covered }

// Media returns the number of images, sounds and files in the prompt. PromptBytes
// counts a few bytes for each, whatever its size.
func (s Signature) Media() int { return s.media }

// Cut reports whether depth excluded a part of the prompt.
func (s Signature) Cut() bool { return s.cut }

// Variant returns a digest of the options that change the tokens of the prompt
// but not its rendition, 0 for none: see prompt.Document.RenderVariant.
func (s Signature) Variant() uint64 { return s.variant }

// NoCache reports whether the engine computes the whole prompt, whatever it has
// cached.
func (s Signature) NoCache() bool { return s.noCache }

// Doubtful reports whether engines render a large part of the prompt in different
// ways, so that a prefix that one holds may be none.
func (s Signature) Doubtful() bool { return s.doubtful }

// Ends returns the ends of the last messages, in order. Options and leading
// system messages count as one message, and so does a prompt without messages. A
// Cut signature has none.
func (s Signature) Ends() []End { return s.ends[:s.numEnds] }

// sign hashes the rendition of a scrubbed document in blocks of blockSize bytes.
// The hash of a block covers all blocks before it, see blockhash.Text.
//
// With depth > 0 the chain ends with message depth-1, and the shorter last block
// is hashed too: what follows cannot move its end. Without a cut a shorter last
// block is left out, because the next turn continues in it.
func sign(d *prompt.Document, api prompt.API, key []byte, model, tenant string, blockSize, depth int) Signature {
	c := chainer{depth: depth}
	c.text.Chain = make([]uint64, 0, len(d.Body)/blockSize+1)
	c.text.Start(root(api, key, model, tenant, blockSize), blockSize)
	d.Render(c.add)
	covered := len(c.text.Chain) * blockSize
	if c.cut && c.text.Open() > 0 {
		covered += c.text.Open()
		c.text.EndBlock()
	}
	s := Signature{
		chain: c.text.Chain, blockSize: blockSize, prompt: c.prompt, covered: covered,
		media: d.Media, cut: c.cut, variant: variant(d, key), noCache: d.NoCache, doubtful: d.Doubtful,
	}
	if c.prompt > 0 && !c.cut {
		c.endMessage()
		s.ends, s.numEnds = c.ends, c.numEnds
	}
	return s
}

// root hashes the inputs of a signature besides the text. Each part has its
// length in front, so different parts never give the same bytes.
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

// variant returns Signature.Variant.
func variant(d *prompt.Document, key []byte) uint64 {
	if !d.HasVariant {
		return 0
	}
	var h xxhash.Digest
	h.Reset()
	_, _ = h.Write(key)
	d.RenderVariant(func(chunk []byte) { _, _ = h.Write(chunk) })
	return max(1, h.Sum64())
}

// chainer hashes a stream of chunks, and notes the ends of messages.
type chainer struct {
	text    blockhash.Text
	depth   int
	prompt  int
	cut     bool
	message int32
	ends    [MaxEnds]End
	numEnds int
}

// endMessage adds the end of a message.
func (c *chainer) endMessage() {
	if c.numEnds == MaxEnds {
		copy(c.ends[:], c.ends[1:])
		c.numEnds--
	}
	c.ends[c.numEnds] = End{Bytes: c.prompt, Hash: c.text.Sum()}
	c.numEnds++
}

// add adds one chunk of a message. After the cut it only counts.
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
	if !c.cut {
		c.text.Add(chunk)
	}
	return true
}
