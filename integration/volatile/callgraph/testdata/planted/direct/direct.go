// SPDX-License-Identifier: Apache-2.0

// Package direct calls what writes. want: os.WriteFile os.Mkdir os.Rename os.Truncate
package direct

import "os"

// Save writes.
func Save() {
	_ = os.WriteFile("x", nil, 0o600)
	unexported()
}

func unexported() {
	_ = os.Mkdir("x", 0o700)
	defer os.Rename("x", "y")
	go os.Truncate("x", 1)
}
