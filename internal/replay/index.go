// SPDX-License-Identifier: Apache-2.0

package replay

// index is what a router that hears nothing from a node takes it to hold: the
// blocks of the prompts sent there, the least recently used beyond a limit
// forgotten. A limit of 0 forgets nothing.
type index struct {
	*cache
	unlimited map[uint64]struct{}
	scratch   []int32
}

func newIndex(limit int) *index {
	if limit == 0 {
		return &index{unlimited: make(map[uint64]struct{})}
	}
	return &index{cache: newCache(limit)}
}

func newIndexes(n, limit int) []*index {
	all := make([]*index, n)
	for i := range all {
		all[i] = newIndex(limit)
	}
	return all
}

// match returns how many blocks of the chain, from its start, are known.
func (x *index) match(chain []uint64) int {
	if x.cache != nil {
		return x.cache.match(chain)
	}
	return heldPrefix(chain, func(h uint64) bool { _, ok := x.unlimited[h]; return ok })
}

// add records a prompt and returns how much of it was known.
func (x *index) add(chain []uint64) (matched int) {
	if x.cache != nil {
		x.scratch, matched = x.acquire(x.scratch[:0], chain, true)
		x.release(x.scratch)
		return matched
	}
	matched = x.match(chain)
	for _, h := range chain[matched:] {
		x.unlimited[h] = struct{}{}
	}
	return matched
}
