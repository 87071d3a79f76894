// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// Every test that the threat model names as a proof exists.
func TestProofsExist(t *testing.T) {
	document, err := os.ReadFile(harness.Root + "/docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := make(map[string]bool)
	err = filepath.WalkDir(harness.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t `).FindAllSubmatch(source, -1) {
			exists[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(document, -1)
	if len(named) < 30 {
		t.Fatalf("the threat model names only %d tests", len(named))
	}
	for _, m := range named {
		if name := string(m[1]); !exists[name] {
			t.Errorf("the threat model names %s, which does not exist", name)
		}
	}
}
