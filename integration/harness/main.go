// SPDX-License-Identifier: Apache-2.0

// Package harness runs a real Caddy with the gateway's modules, in the process
// of a test, in front of simulated engines. It is for the packages beside it:
//
//   - gateway: requests, retries, reloads, uploads, bad input, examples
//   - events: following the engines' KV events
//   - staging: LMCache
//   - llamacpp: in front of llama.cpp's own server
//   - clients: the official SDKs as clients
//   - faults: engines that fail, in a module of its own
//   - volatile: nothing reaches the disk, and memory stays bounded
//   - bench: figures, which only `make bench` measures
package harness

import (
	"os"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/bauxite/caddy-kvaware"
)

// Root is the repository, as seen from a package directly under integration/.
const Root = "../.."

// The home directory and build cache of the user, which Main replaces.
var userHome, userCache = os.Getenv("HOME"), os.Getenv("XDG_CACHE_HOME")

// Main runs a package's tests with a home directory of their own, so that
// nothing Caddy writes reaches the user's files. TestMain calls it.
func Main(m *testing.M) {
	home, err := os.MkdirTemp("", "caddy-kvaware")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"} {
		os.Setenv(name, home)
	}
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// GoEnv returns the environment for a go command that uses the user's build
// cache.
func GoEnv() []string {
	return append(os.Environ(), "GOFLAGS=", "HOME="+userHome, "XDG_CACHE_HOME="+userCache, "GOCACHE="+os.Getenv("GOCACHE"))
}

// Missing skips a test because a tool or a permission is missing. In CI the
// test fails instead: there everything must run.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
