// SPDX-License-Identifier: Apache-2.0

package radixcache

import "testing"

// FuzzOperations runs a sequence of operations on a tree and its model. Three bytes
// each say the operation, its argument, and the path.
func FuzzOperations(f *testing.F) {
	f.Add([]byte("\x00\x10\x80\x05\x01\x81\x08\x03\x81\x0c\x07\x80\x0a\x05\x80\x0f\x08\x01"))
	f.Add([]byte{0, 0, 200, 1, 0, 201, 2, 0, 202, 10, 9, 200, 5, 3, 202, 8, 3, 202, 14, 1, 1})
	f.Fuzz(func(t *testing.T, ops []byte) {
		p := newPlayer(1<<24, 3)
		for len(ops) >= 3 && len(ops) < 600 {
			up, path := p.ids[int(ops[1])%3], fuzzPath(ops[2], ops[1])
			if err := p.step(ops[0], ops[1], up, path); err != nil {
				t.Fatal(err)
			}
			if err := p.check(path); err != nil {
				t.Fatal(err)
			}
			ops = ops[3:]
		}
	})
}

// fuzzPath makes long paths with few branches out of two bytes.
func fuzzPath(a, b byte) string {
	path := make([]byte, 1+int(a))
	for i := range path {
		path[i] = 'a'
		if i%16 == int(b>>4) && b>>(uint(i)/16%4)&1 == 1 {
			path[i] = 'b'
		}
	}
	return string(path)
}
