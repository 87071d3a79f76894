// SPDX-License-Identifier: Apache-2.0

package events

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
