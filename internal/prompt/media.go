// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// shortestMedia is the least length in bytes of a base64 string that is rendered
// as a digest. Shorter ones are rendered as they are.
const shortestMedia = 1024

// isMedia reports whether a raw string is an image, a sound or a file in base64.
func isMedia(raw []byte) bool {
	return len(raw) >= shortestMedia && (isBase64(raw) || isDataURL(raw))
}

// writeMedia writes a digest in place of a base64 string. Engines make a few
// hundred tokens of an image of any size, so megabytes of base64 would fill the
// tree with blocks for nothing. Two images still differ, and escaped slashes
// make no difference.
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

// writeDecoded digests the decoded bytes of an ASCII string. oneByte is memory
// for an escaped one.
func writeDecoded(h hash.Hash, raw, oneByte []byte) {
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
			oneByte[0] = byte(c)
			h.Write(oneByte[:1])
			raw = raw[n:]
		}
	}
}
