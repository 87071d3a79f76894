// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// corpus calls visit with texts people send that mostly hold nothing: agents'
// sessions, source code, generated logs and tables. It returns their size.
func corpus(t *testing.T, name string, visit func(path string, text []byte)) (size int) {
	each := func(path string, text []byte) {
		size += len(text)
		visit(path, text)
	}
	tree := func(root string, limit int, exts ...string) {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || size >= limit {
				return fs.SkipAll
			}
			for _, ext := range exts {
				if !d.IsDir() && strings.HasSuffix(path, ext) {
					if data, err := os.ReadFile(path); err == nil {
						each(path, data)
					}
				}
			}
			return nil
		})
	}
	switch name {
	case "sessions":
		f, err := os.Open("../../../shared/traces/miniswe.jsonl.gz")
		if err != nil {
			t.Skip("no recorded sessions here")
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for d := json.NewDecoder(z); ; {
			var turn struct{ Input, Output string }
			if err := d.Decode(&turn); err != nil {
				break
			}
			each(name, []byte(turn.Input))
			each(name, []byte(turn.Output))
		}
	case "go":
		tree(filepath.Join(runtime.GOROOT(), "src"), 400<<20, ".go")
	case "caddy":
		dirs, _ := filepath.Glob(filepath.Join(os.Getenv("HOME"), "go/pkg/mod/github.com/caddyserver/caddy/*"))
		for _, dir := range dirs {
			tree(dir, 400<<20, ".go", ".caddyfiletest", ".md")
		}
	case "logs":
		each(name, logs(4<<20))
	case "csv":
		each(name, table(4<<20))
	case "base64":
		each(name, encoded(2<<20))
	}
	return size
}

// TestFalseFindings lists what is found in texts that hold little. Test files
// of the Go tree hold real keys and addresses on purpose, so program sources
// are judged by the lists this prints (go test -v -run FalseFindings), and
// bounded here well above what was judged true.
func TestFalseFindings(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 30 MB")
	}
	s := scanner(t, Options{})
	for _, name := range []string{"sessions", "go", "caddy", "logs", "csv", "base64"} {
		t.Run(name, func(t *testing.T) {
			n := map[Entity]int{}
			seen := map[string]bool{}
			size := corpus(t, name, func(path string, text []byte) {
				for _, sp := range s.Scan(text, nil) {
					value := string(text[sp.Start:sp.End])
					n[sp.Entity]++
					if key := string(sp.Entity) + value; !seen[key] {
						seen[key] = true
						line := text[max(0, sp.Start-30):min(len(text), sp.End+20)]
						t.Logf("%s %.80q in %q %s", sp.Entity, value, bytes.ToValidUTF8(line, nil), filepath.Base(path))
					}
				}
			})
			t.Logf("%d bytes, %d different: %v", size, len(seen), n)
		})
	}
}
