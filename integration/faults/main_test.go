// SPDX-License-Identifier: Apache-2.0

// Package faults runs the gateway in front of simulated engines that fail in
// every way that engines do, and counts what clients lose. All of it is in
// tests:
//
//   - setups_test.go, examples_test.go: the configs, which are the README's and the
//     examples', with stock Caddy's least_conn beside them
//   - node_test.go: the engines, and toxiproxy in front of the faulty ones
//   - traffic_test.go: paced conversations and what becomes of each request
//   - gateway_test.go: one Caddy with a site for each scenario, which reloads its
//     config all the while
//   - scenarios_test.go: runs scenarios at the same time
//   - lasting_test.go: the table of faults that an engine has from the start
//   - the other files: one kind of scenario each
package faults

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
