// SPDX-License-Identifier: Apache-2.0

package responses

// upstream is the number of an address, so that each is kept once and not with
// every response.
type upstream uint32

// names numbers the addresses in use.
type names struct {
	number  map[string]upstream
	address map[upstream]string
	uses    map[upstream]int
	last    upstream
}

func newNames() names {
	return names{number: make(map[string]upstream), address: make(map[upstream]string), uses: make(map[upstream]int)}
}

// take returns the number of an address and counts one more use of it.
func (n *names) take(address string) upstream {
	u, known := n.number[address]
	for !known {
		n.last++
		u = n.last
		if _, taken := n.address[u]; !taken {
			n.number[address], n.address[u] = u, address
			known = true
		}
	}
	n.uses[u]++
	return u
}

// release counts one use less. An address without uses is dropped.
func (n *names) release(u upstream) {
	if n.uses[u]--; n.uses[u] == 0 {
		n.drop(u)
	}
}

// drop drops an address with all its uses.
func (n *names) drop(u upstream) {
	delete(n.number, n.address[u])
	delete(n.address, u)
	delete(n.uses, u)
}
