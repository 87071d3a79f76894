// SPDX-License-Identifier: Apache-2.0

package pii

var urlCredentials = builtin{
	name:   "url_credentials",
	entity: EntitySecret,
	rank:   -4,
	doc:    "Passwords in URLs of the form scheme://user:password@host (RFC 3986, 3.2.1).",
	match: []string{
		"https://bob:«s3cret»@example.com/x",
		"redis://:«s3cret»@cache:6379",
	},
	noMatch: []string{
		"https://bob:${PASSWORD}@example.com/",
		"https://bob@example.com/",
	},
}

// maxUserinfo bounds the user information of a URL.
const maxUserinfo = 256

// userinfo looks at an "@" at text[i:after] as the end of a URL's user
// information (RFC 3986, 3.2.1) and records the password in it. It returns true
// when the "@" belongs to a URL rather than an address.
//
// Passwords often hold an unescaped "@"; the last one before the path counts.
func (r *scan) userinfo(i, after int) bool {
	text := r.text
	for j := after; j < len(text) && j-after < maxUserinfo; j++ {
		if text[j] == '@' {
			return false
		}
		if endsAuthority(text[j]) {
			break
		}
	}
	start := r.schemeBefore(i)
	if start < 0 {
		return false
	}
	colon := start
	for colon < i && text[colon] != ':' {
		colon++
	}
	password := text[min(colon+1, i):i]
	if r.finds(&urlCredentials) && len(password) > 0 && !isTemplate(password) && hostAt(text, after) {
		r.add(colon+1, i, EntitySecret)
	}
	return true
}

// endsAuthority reports whether a byte ends the authority of a URL in text.
func endsAuthority(c byte) bool {
	switch c {
	case '/', '?', '"', '\'', '`', '<', '>', '\\', ')', ']', ',', ';':
		return true
	}
	return c <= ' '
}

// schemeBefore returns the start of the user information that ends at text[i]
// if "scheme://" stands before it, else -1. It remembers the result of an
// earlier "@", so no byte is walked twice.
func (r *scan) schemeBefore(i int) int {
	start := r.schemeFrom(i)
	r.lastAt, r.lastScheme = i, start
	return start
}

func (r *scan) schemeFrom(i int) int {
	text := r.text
	for j := i - 1; j >= 2 && i-j <= maxUserinfo; j-- {
		r.work++
		c := text[j]
		switch {
		case c == '@' && j == r.lastAt:
			if i-r.lastScheme < maxUserinfo {
				return r.lastScheme
			}
			return -1
		case c == '/':
			if text[j-1] == '/' && text[j-2] == ':' && j >= 3 && isAlnum(text[j-3]) {
				return j + 1
			}
			return -1
		case c <= ' ', c == '"', c == '<', c == '>', c == '`':
			return -1
		}
	}
	return -1
}

// hostAt reports whether a host name or address begins at text[i].
func hostAt(text []byte, i int) bool {
	c := byteAt(text, i)
	return isAlnum(c) || c == '[' || c >= 0x80
}
