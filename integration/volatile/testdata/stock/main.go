// SPDX-License-Identifier: Apache-2.0

// Command stock is Caddy as it is released, without the gateway's modules: what
// tests compare the gateway's memory with.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() { caddycmd.Main() }
