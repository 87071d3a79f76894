// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// fleetTries is how often a fleet looks for addresses that are all free.
const nodeTries = 100

// StartFleet returns n nodes whose events are at the same port, as those of
// hosts of their own are: each has a loopback address for itself, which works
// where all of 127.0.0.0/8 is the machine's own, as on Linux. Ports that the
// config names are kept.
func StartNodes(cfg Config, n int) ([]*Engine, error) {
	for try := 0; ; try++ {
		fleet, err := tryNodes(cfg, n)
		if err == nil {
			return fleet, nil
		}
		for _, e := range fleet {
			e.Close()
		}
		if try == nodeTries {
			return nil, err
		}
	}
}

// tryFleet starts nodes beside a first one, whose ports the others take.
func tryNodes(cfg Config, n int) (fleet []*Engine, err error) {
	used := make(map[string]bool)
	for len(fleet) < n {
		// Random ones keep out of the way of what runs at the same time.
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(255), 1+rand.IntN(254))
		if used[host] {
			continue
		}
		used[host] = true
		e, err := StartAt(cfg, net.JoinHostPort(host, "0"))
		if err != nil {
			return fleet, err
		}
		if fleet = append(fleet, e); len(fleet) == 1 && cfg.Events != nil {
			events := *cfg.Events
			events.Port, events.ReplayPort = portOf(e.EventsAddr(0)), portOf(e.ReplayAddr(0))
			cfg.Events = &events
		}
	}
	return fleet, nil
}

// portOf returns the port of host:port, 0 when there is none.
func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}
