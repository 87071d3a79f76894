// SPDX-License-Identifier: Apache-2.0

// Command caddy is Caddy with the gateway's modules in it: the binary that
// `xcaddy build --with github.com/bauxite/caddy-kvaware` makes, without xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/bauxite/caddy-kvaware"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() { caddycmd.Main() }
