// SPDX-License-Identifier: Apache-2.0

package pii

import "bytes"

// EntityPrivateKey labels private keys.
const EntityPrivateKey Entity = "PRIVATE_KEY"

var privateKey = builtin{
	name:   "private_key",
	entity: EntityPrivateKey,
	rank:   -6,
	doc:    "PEM and OpenSSH private keys (RFC 7468), from BEGIN to END.",
	match: []string{
		"key: «-----BEGIN PRIV" + "ATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIV" + "ATE KEY-----» end",
	},
	noMatch: []string{
		"-----BEGIN PRIV" + "ATE KEY-----\n...\n-----END PRIV" + "ATE KEY-----",
		"-----BEGIN CERTIFICATE-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END CERTIFICATE-----",
	},
}

var (
	pemBegin = []byte("-----BEGIN ")
	pemEnd   = []byte("-----END ")
	pemKey   = []byte("PRIVATE KEY")
)

// Bounds of the label of a PEM block, and of the block. An RSA key of 16,384
// bits has 12.5 kB.
const (
	maxPEMLabel = 64
	maxPEM      = 32 << 10
)

// privateKeys records PEM blocks (RFC 7468) of private keys, from BEGIN to END.
// A block that is cut off ends where base64 ends.
func (r *scan) privateKeys() {
	if !r.finds(&privateKey) {
		return
	}
	for from := 0; from < len(r.text); {
		i := bytes.Index(r.text[from:], pemBegin)
		if i < 0 {
			return
		}
		start := from + i
		from = start + len(pemBegin)
		label := r.text[from:min(len(r.text), from+maxPEMLabel)]
		dashes := bytes.Index(label, []byte("-----"))
		if dashes < 0 || !bytes.Contains(label[:dashes], pemKey) {
			continue
		}
		body := from + dashes + 5
		end := r.pemEnd(body)
		r.work += end - body
		if !longBase64(r.text[body:end]) {
			continue
		}
		r.add(start, end, EntityPrivateKey)
		from = end
	}
}

// longBase64 reports whether a body holds at least one stretch of 24 characters
// of base64, as every key does and its description does not.
func longBase64(body []byte) bool {
	n := 0
	for _, c := range body {
		if class[c]&clsStd64 == 0 {
			n = 0
		} else if n++; n == 24 {
			return true
		}
	}
	return false
}

// pemEnd returns the end of the block whose body begins at text[body].
func (r *scan) pemEnd(body int) int {
	text := r.text
	i := body
	for limit := min(len(text), body+maxPEM); i < limit; i++ {
		switch c := text[i]; {
		case inPEM(c):
		case c == '-':
			if bytes.HasPrefix(text[i:], pemEnd) {
				line := text[i+len(pemEnd) : min(len(text), i+len(pemEnd)+maxPEMLabel)]
				if n := bytes.Index(line, []byte("-----")); n >= 0 {
					return i + len(pemEnd) + n + 5
				}
				return i
			}
			if i+1 < limit && text[i+1] == '-' {
				return i
			}
		default:
			return i
		}
	}
	return i
}

// inPEM reports whether c can stand in a block, its last line apart: base64,
// headers, and the quotes and escapes of program text.
func inPEM(c byte) bool {
	switch c {
	case '=', '\n', '\r', ' ', '\t', '\\', '"', '\'', ',', ':', '.':
		return true
	}
	return class[c]&clsStd64 != 0
}
