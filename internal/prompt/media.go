// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// shortestMedia is the least length of a base64 string that the rendition has
// a digest for, in bytes. Shorter ones stand in it as they are.
const shortestMedia = 1024

// isMedia reports whether a raw string in the rendition is an image, a sound
// or a file in base64.
func isMedia(raw []byte) bool {
	return len(raw) >= shortestMedia && (isBase64(raw) || isDataURL(raw))
}

// media writes a digest of a base64 string in its place. What engines make of
// an image is some hundred tokens, whatever its size: by its megabytes of
// base64 it would be the longest prompt by far, and fill the tree with blocks.
// Two images still differ, and one is the same however its slashes are escaped.
func (r *renderer) writeMedia(raw []byte) {
	d := r.document
	d.Media++
	if d.digest == nil {
		d.digest = sha256.New()
	}
	writeDecoded(d.digest, raw, d.oneByte[:])
	r.room(1 + sha256.Size)
	r.buf = append(r.buf, tagMedia)
	r.buf = d.digest.Sum(r.buf)
}

// writeDecoded digests a string's decoded bytes, which are ASCII. spare is
// memory for one of them that was escaped.
func writeDecoded(h hash.Hash, raw, spare []byte) {
	h.Reset()
	for len(raw) > 0 {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			n = len(raw)
		}
		h.Write(raw[:n]) // a hash never returns an error
		raw = raw[n:]
		if len(raw) > 0 {
			c, n := escape(raw)
			spare[0] = byte(c)
			h.Write(spare[:1])
			raw = raw[n:]
		}
	}
}
