// SPDX-License-Identifier: Apache-2.0

package pii

// colon looks at a byte from ':' to '=': part of an address, or what stands
// between a name and its value.
func (r *scan) colon(i int) {
	if r.text[i] == ':' && (r.on[recIP] || r.on[recIPPrivate]) {
		next := at(r.text, i+1)
		if next == ':' || isHex(next) {
			r.ipv6(i)
		}
	}
}
