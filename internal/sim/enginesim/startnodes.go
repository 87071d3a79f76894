// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// nodeTries bounds the attempts to find free addresses for all nodes.
const nodeTries = 100

// StartNodes returns n nodes with the same event ports, like nodes on different
// hosts: each has its own loopback address, which works where 127.0.0.0/8 is the
// loopback network, as on Linux. Ports in the config are kept.
func StartNodes(cfg Config, n int) ([]*Engine, error) {
	for try := 0; ; try++ {
		nodes, err := tryNodes(cfg, n)
		if err == nil {
			return nodes, nil
		}
		for _, e := range nodes {
			e.Close()
		}
		if try == nodeTries {
			return nil, err
		}
	}
}

// tryNodes starts nodes; all take the event ports of the first.
func tryNodes(cfg Config, n int) (nodes []*Engine, err error) {
	used := make(map[string]bool)
	for len(nodes) < n {
		// Random addresses avoid other tests that run at the same time.
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(255), 1+rand.IntN(254))
		if used[host] {
			continue
		}
		used[host] = true
		e, err := StartAt(cfg, net.JoinHostPort(host, "0"))
		if err != nil {
			return nodes, err
		}
		if nodes = append(nodes, e); len(nodes) == 1 && cfg.Events != nil {
			events := *cfg.Events
			events.Port, events.ReplayPort = portOf(e.EventsAddr(0)), portOf(e.ReplayAddr(0))
			cfg.Events = &events
		}
	}
	return nodes, nil
}

// portOf returns the port of host:port, 0 without one.
func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}
