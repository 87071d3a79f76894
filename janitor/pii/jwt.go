// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"
)

// EntityJWT labels JSON Web Tokens.
const EntityJWT Entity = "JWT"

var jwt = builtin{
	name:   "jwt",
	entity: EntityJWT,
	rank:   -5,
	doc:    "JSON Web Tokens (RFC 7519): a header that decodes to a JSON object with alg, three parts.",
	match: []string{
		"Cookie: t=«eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" + ".eyJsb2dnZWRJbkFzIjoiYWRtaW4ifQ" + ".gzSraSYS8EXBxLN_oWnFSRgCzcmJmMjLiuyu5CSpyHI»; x",
	},
	noMatch: []string{
		"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
		"eyJmb28iOiJiYXIiLCJiYXoiOjF9" + ".eyJsb2dnZWRJbkFzIjoiYWRtaW4ifQ.gzSraSYS8EXBxLN_oWnF",
	},
}

// maxJWTHeader bounds the header part that is decoded.
const maxJWTHeader = 1024

// jwt returns the end of a JSON Web Token (RFC 7519) that begins at text[p],
// or p. The header must decode to a JSON object that names its algorithm; the
// payload must begin like an object, or be opaque in an encrypted token of
// five parts (RFC 7516).
func (r *scan) jwt(p int) int {
	text := r.text
	head := r.runEnd(abURL, p)
	if head-p < 16 || head-p > maxJWTHeader || byteAt(text, head) != '.' {
		return p
	}
	var buf [maxJWTHeader]byte
	n, _ := base64.RawURLEncoding.Decode(buf[:], text[p:head])
	if !bytes.Contains(buf[:n], []byte(`"alg"`)) && !bytes.Contains(buf[:n], []byte(`"typ"`)) {
		return p
	}
	payload := r.runEnd(abURL, head+1)
	if payload-head < 4 {
		return p
	}
	end := payload
	for parts := 2; parts < 5 && byteAt(text, end) == '.'; parts++ {
		next := r.runEnd(abURL, end+1)
		if next == end+1 {
			break
		}
		end = next
	}
	if end == payload && !r.broken(payload) {
		return p
	}
	return end
}

// broken reports whether only a character that folds, or the end of a window,
// ends a token at text[end].
func (r *scan) broken(end int) bool {
	if c := byteAt(r.text, end); c < utf8.RuneSelf {
		return r.goesOn(end)
	}
	to, _ := foldRune(r.text[end:])
	return to != foldNone
}
