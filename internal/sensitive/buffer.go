// SPDX-License-Identifier: Apache-2.0

// Package arena is the memory that values of prompts are copied to: bytes that
// never become strings and are zeroed before they are used for something else
// or left to the garbage collector, also when they are outgrown. What makes
// such memory does it here, or enters it here, so that a test can look at each
// byte of all there was.
package sensitive

// smallest is the size of the first arena, and doubling the size up to which
// the next one is twice as large, then one and a half times, in bytes.
const (
	smallest = 256
	doubling = 1 << 20
)

// Make returns n zero bytes in an arena for size bytes, at least n. of says
// what it is for.
func Make(of string, n, size int) []byte {
	b := make([]byte, n, size)
	Register(of, b)
	return b
}

// Grow returns b with room for n more bytes. When that takes another arena,
// all of the one before is zeroed.
func Grow(of string, b []byte, n int) []byte {
	need, size := len(b)+n, cap(b)
	if need <= size {
		return b
	}
	if size < doubling {
		size *= 2
	} else {
		size += size / 2
	}
	grown := Make(of, len(b), max(need, size, smallest))
	copy(grown, b)
	Wipe(b)
	return grown
}

// Append is append with Grow.
func Append(of string, b []byte, more ...byte) []byte {
	return append(Grow(of, b, len(more)), more...)
}

// Wipe zeroes an arena up to its capacity, and so all that was ever written to
// it.
func Wipe(b []byte) { clear(b[:cap(b)]) }
