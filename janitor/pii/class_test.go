// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"encoding/binary"
	"testing"
)

func TestAllAlnum(t *testing.T) {
	for k := range 8 {
		for c := range 256 {
			b := []byte("aZ09zA5x")
			b[k] = byte(c)
			if got := allAlnum(binary.LittleEndian.Uint64(b)); got != isAlnum(byte(c)) {
				t.Errorf("%q: %v", b, got)
			}
		}
	}
}
