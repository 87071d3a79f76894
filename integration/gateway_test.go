// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/bauxite/caddy-kvaware"
)

func TestMain(m *testing.M) { Main(m) }
