// SPDX-License-Identifier: Apache-2.0

// Package sensitive makes and wipes the memory that values of prompts are
// copied to.
//
// Such memory is bytes, never strings. It is zeroed before it is reused or left
// to the garbage collector, also when it is outgrown. All of it is made here or
// registered here, so that a test can look at every byte of it.
package sensitive

const (
	// smallest is the size of the first buffer, in bytes.
	smallest = 256
	// doubling is the size in bytes up to which a buffer doubles when it grows.
	// Larger ones grow by half.
	doubling = 1 << 20
)

// Make returns a buffer of n zero bytes with a capacity of size bytes. purpose
// names the buffer for tests.
func Make(purpose string, n, size int) []byte {
	b := make([]byte, n, size)
	Register(purpose, b)
	return b
}

// Grow returns b with room for n more bytes. When that takes a new buffer, all
// of the old one is zeroed.
func Grow(purpose string, b []byte, n int) []byte {
	need, size := len(b)+n, cap(b)
	if need <= size {
		return b
	}
	if size < doubling {
		size *= 2
	} else {
		size += size / 2
	}
	grown := Make(purpose, len(b), max(need, size, smallest))
	copy(grown, b)
	Wipe(b)
	return grown
}

// Append appends like the built-in, growing b by Grow.
func Append(purpose string, b []byte, more ...byte) []byte {
	return append(Grow(purpose, b, len(more)), more...)
}

// Wipe zeroes b up to its capacity, and so everything ever written to it.
func Wipe(b []byte) { clear(b[:cap(b)]) }
