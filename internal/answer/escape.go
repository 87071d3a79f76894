// SPDX-License-Identifier: Apache-2.0

package answer

const (
	hexDigits     = "0123456789abcdef"
	longestEscape = len(`\\u0000`)
)

// appendEscaped appends a value to the inside of a JSON string or, nested, of a
// JSON string in a JSON string. It escapes only quotes, backslashes and control
// characters, as RFC 8259 demands.
func appendEscaped(out *sink, value []byte, nested bool) {
	out.dirty = true
	for len(value) > 0 {
		n := indexSpecial(value, 0)
		out.append(value[:n])
		if n == len(value) {
			return
		}
		out.room(longestEscape)
		out.b = escape(out.b, value[n], nested)
		value = value[n+1:]
	}
}

// escape appends the escape sequence of ch to dst.
func escape(dst []byte, ch byte, nested bool) []byte {
	short := byte(0)
	switch ch {
	case '"', '\\':
		short = ch
	case '\n':
		short = 'n'
	case '\r':
		short = 'r'
	case '\t':
		short = 't'
	case '\b':
		short = 'b'
	case '\f':
		short = 'f'
	}
	dst = append(dst, '\\')
	if nested {
		dst = append(dst, '\\')
	}
	switch {
	case short == 0:
		return append(dst, 'u', '0', '0', hexDigits[ch>>4], hexDigits[ch&15])
	case nested && (short == '"' || short == '\\'):
		return append(dst, '\\', short)
	default:
		return append(dst, short)
	}
}
