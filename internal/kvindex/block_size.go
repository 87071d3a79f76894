// SPDX-License-Identifier: Apache-2.0

package kvindex

// blockSizeCounter finds the block size that most blocks have (Misra and Gries,
// "Finding repeated elements", 1982, with a few counters). Blocks on the GPU take
// precedence: copies elsewhere often are in chunks of another size.
type blockSizeCounter struct {
	size  [4]int
	count [4]int64
	onGPU bool
}

// note counts n blocks of a size, and returns the most frequent size.
func (b *blockSizeCounter) note(size, n int, gpu bool) uint32 {
	if gpu && !b.onGPU {
		*b = blockSizeCounter{onGPU: true}
	}
	if gpu == b.onGPU {
		b.add(size, int64(n))
	}
	best := 0
	for i := range b.count {
		if b.count[i] > b.count[best] {
			best = i
		}
	}
	return uint32(b.size[best])
}

func (b *blockSizeCounter) add(size int, n int64) {
	least := 0
	for i := range b.size {
		if b.size[i] == size && b.count[i] > 0 {
			b.count[i] += n
			return
		}
		if b.count[i] < b.count[least] {
			least = i
		}
	}
	if b.count[least] == 0 {
		b.size[least], b.count[least] = size, n
		return
	}
	less := min(n, b.count[least])
	for i := range b.count {
		b.count[i] -= less
	}
	if n > less {
		b.size[least], b.count[least] = size, n-less
	}
}
