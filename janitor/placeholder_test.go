// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// Placeholders of all entities, numbered and keyed, never need escaping, not even
// in JSON inside a JSON string, and are no findings themselves.
func TestPlaceholdersNeedNoEscaping(t *testing.T) {
	scanner, err := pii.New(pii.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{nil, []byte("0123456789abcdef")} {
		for _, r := range pii.List() {
			v := newVault(key)
			v.expect(r.Entity)
			placeholder := string(v.placeholder(r.Entity, []byte("a value")))
			v.wipe()
			if !strings.HasPrefix(placeholder, "["+string(r.Entity)+"_") || !strings.HasSuffix(placeholder, "]") {
				t.Errorf("%s: placeholder %q", r.Name, placeholder)
			}
			once, err := json.Marshal(placeholder)
			if err != nil {
				t.Fatal(err)
			}
			twice, err := json.Marshal(string(once))
			if err != nil {
				t.Fatal(err)
			}
			if string(twice) != `"\"`+placeholder+`\""` {
				t.Errorf("%s: %q changes in JSON: %s", r.Name, placeholder, twice)
			}
			if spans := scanner.Scan([]byte("it is "+placeholder+" here"), nil); len(spans) != 0 {
				t.Errorf("%s: %q is a finding", r.Name, placeholder)
			}
		}
	}
}
