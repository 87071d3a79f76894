// SPDX-License-Identifier: Apache-2.0

package upstreams

// capacities holds the KV capacities that subscribers have configured, in
// tokens, by upstream address. Several subscribers may use one upstream, of one
// config or, during a reload, of two. The largest capacity counts: taking a
// cache for too small costs more than taking it for too large. Provisioning
// cannot refuse different values, because upstreams come and go.
type capacities map[string]map[*Subscriber]int64

// set notes a subscriber's capacity for an upstream; 0 removes it.
func (c capacities) set(address string, s *Subscriber, tokens int64) {
	if tokens > 0 {
		if c[address] == nil {
			c[address] = make(map[*Subscriber]int64)
		}
		c[address][s] = tokens
		return
	}
	delete(c[address], s)
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

// by returns the upstreams that a subscriber has configured a capacity for.
func (c capacities) by(s *Subscriber) (addresses []string) {
	for address, all := range c {
		if all[s] > 0 {
			addresses = append(addresses, address)
		}
	}
	return addresses
}
