// SPDX-License-Identifier: Apache-2.0

package pii

// colon looks at a byte from ':' to '=': part of an address, or what stands
// between a name and its value.
func (r *scan) colon(i int) {
	switch r.text[i] {
	case ':':
		if next := at(r.text, i+1); (next == ':' || isHex(next)) && (r.on[recIP] || r.on[recIPPrivate] || r.on[recMAC]) {
			r.ipv6(i)
		}
		fallthrough
	case '=':
		if r.on[recAssignment] {
			r.assignment(i)
		}
	case '<':
		if r.on[recAssignment] && at(r.text, i+1) == '/' {
			r.element(i)
		}
	}
}
