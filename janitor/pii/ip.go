// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"net/netip"
)

// addAddress records the address if addresses of its kind are asked for.
func (r *scan) addAddress(start, end int, a netip.Addr) {
	id := recIPPrivate
	if public(a) {
		id = recIP
	}
	if r.on[id] {
		r.add(start, end, EntityIP)
	}
}
