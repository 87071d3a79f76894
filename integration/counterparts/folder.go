// SPDX-License-Identifier: Apache-2.0

// Package counterparts runs programs of others beside the gateway: llama.cpp's
// server, and Node.js with the official SDKs. `make prerequisites` installs them, in
// the versions that requirements.txt and package-lock.json pin, into the user's
// cache. Where they are missing a test is skipped, or fails in CI.
package counterparts

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// source is the folder of this package, as seen from a package beside it.
const source = harness.Root + "/integration/counterparts"

// folder returns where everything is installed. Its name depends on the versions.
func folder(t testing.TB) string {
	t.Helper()
	hash := sha256.New()
	for _, name := range []string{"requirements.txt", "package-lock.json"} {
		pinned, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatal(err)
		}
		hash.Write(pinned)
	}
	path := filepath.Join(harness.CacheFolder(), "counterparts-"+hex.EncodeToString(hash.Sum(nil))[:16])
	if _, err := os.Stat(path); err != nil {
		harness.Missing(t, "llama.cpp and the SDKs are missing; `make prerequisites` installs them")
	}
	return path
}

// python returns an interpreter that can import what is installed.
func python() string {
	const debian = "/usr/bin/python3"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	return "python3"
}
