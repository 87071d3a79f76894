// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
