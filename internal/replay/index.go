// SPDX-License-Identifier: Apache-2.0

package replay

// index is a router's guess of a node's cache, without news from the node: the
// blocks of the prompts sent there, up to a limit, by least recent use. A limit
// of 0 keeps everything.
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

// match returns how many leading blocks of the chain are known.
func (x *index) match(chain []uint64) int {
	if x.cache != nil {
		return x.cache.match(chain)
	}
	return heldPrefix(chain, func(h uint64) bool { _, ok := x.unlimited[h]; return ok })
}

// add records a prompt and returns how many leading blocks were known.
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
