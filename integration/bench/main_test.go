// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
