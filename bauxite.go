// SPDX-License-Identifier: Apache-2.0

// Package bauxite registers every module of the cache-aware LLM gateway, so
// that one flag builds all of it:
//
//	xcaddy build --with github.com/bauxite/caddy-kvaware
package bauxite

import (
	_ "github.com/bauxite/caddy-kvaware/internal/adapter"
	_ "github.com/bauxite/caddy-kvaware/internal/commands"
	_ "github.com/bauxite/caddy-kvaware/janitor"
	_ "github.com/bauxite/caddy-kvaware/kvaware"
)
