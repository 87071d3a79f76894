// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpus calls visit with everyday texts that hold few findings: recorded
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
		tree(filepath.Join(build.Default.GOROOT, "src"), 400<<20, ".go")
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

// TestFalseFindings bounds the findings in texts that hold few, and lists them
// (go test -v -run FalseFindings). Recorded sessions, source code and
// documentation do hold addresses, test keys and test passwords; those count
// apart from numbers.
func TestFalseFindings(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 100 MB")
	}
	s := scanner(t, Options{})
	for _, c := range []struct {
		name    string
		numbers float64 // different numbers per MB, cards to dates of birth
		others  float64 // different addresses and secrets per MB
	}{
		{"sessions", 0.1, 1}, {"go", 0.1, 10}, {"caddy", 0.5, 20}, {"logs", 0, 0}, {"csv", 0, 0}, {"base64", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := map[string]bool{}
			numbers, others := 0, 0
			size := corpus(t, c.name, func(path string, text []byte) {
				for _, sp := range s.Scan(text, nil) {
					value := string(text[sp.Start:sp.End])
					if key := string(sp.Entity) + value; !seen[key] {
						seen[key] = true
						line := text[max(0, sp.Start-30):min(len(text), sp.End+20)]
						t.Logf("%s %.80q in %q %s", sp.Entity, value, bytes.ToValidUTF8(line, nil), filepath.Base(path))
						switch sp.Entity {
						case EntityEmail, EntityIP, EntityMAC, EntitySecret, EntityJWT, EntityPrivateKey:
							others++
						default:
							numbers++
						}
					}
				}
			})
			if size == 0 {
				t.Skip("no such texts here")
			}
			mb := float64(size) / 1e6
			t.Logf("%.1f MB, %d different numbers, %d different addresses and secrets", mb, numbers, others)
			if float64(numbers) > c.numbers*mb || float64(others) > c.others*mb {
				t.Errorf("more than %.1f numbers or %.1f others per MB", c.numbers, c.others)
			}
		})
	}
}
