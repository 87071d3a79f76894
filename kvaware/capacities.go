// SPDX-License-Identifier: Apache-2.0

package kvaware

// capacities is what policies have configured as the KV capacity of upstreams,
// in tokens. Several may follow one upstream, of one config or, while a config
// is replaced, of two. That they differ cannot be refused when they are
// provisioned, since upstreams may come and go; so the largest counts: to take
// a cache for too small costs more than to take it for too large.
type capacities map[string]map[*Policy]int64 // by address

// set notes what a policy has configured for an upstream; 0: nothing.
func (c capacities) set(address string, p *Policy, tokens int64) {
	if tokens > 0 {
		if c[address] == nil {
			c[address] = make(map[*Policy]int64)
		}
		c[address][p] = tokens
		return
	}
	delete(c[address], p)
	if len(c[address]) == 0 {
		delete(c, address)
	}
}

// of returns the capacity that counts; 0: none is configured.
func (c capacities) of(address string) (largest int64) {
	for _, tokens := range c[address] {
		largest = max(largest, tokens)
	}
	return largest
}

// by returns the upstreams for which a policy has configured one.
func (c capacities) by(p *Policy) (addresses []string) {
	for address, all := range c {
		if all[p] > 0 {
			addresses = append(addresses, address)
		}
	}
	return addresses
}
