// SPDX-License-Identifier: Apache-2.0

// Package architecture holds the map of docs/architecture.md to the code: which
// room may import which, and that the module can be built into a Caddy of one's
// own. All of it is in tests.
package architecture

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/bauxite/caddy-kvaware"

	caddy      = "github.com/caddyserver/caddy/v2"
	certmagic  = "github.com/caddyserver/certmagic"
	zap        = "go.uber.org/zap"
	prometheus = "github.com/prometheus/client_golang"
	xxhash     = "github.com/cespare/xxhash/v2"
	humanize   = "github.com/dustin/go-humanize"
)

// room is a folder with all folders below it, but for those that are rooms
// themselves.
type room struct {
	path string // below the module; "." is its root
	// imports lists the rooms and the other modules that it may import, besides
	// the standard library. What is below an entry is included.
	imports string
}

// rooms is the map. docs/architecture.md shows it to readers.
var rooms = []room{
	{".", "janitor kvaware internal/adapter internal/commands"},
	{"cmd/caddy", join(".", caddy)},

	{"radixcache", ""},
	{"radixcache/w1", xxhash},

	{"janitor", join("janitor/pii internal/admission internal/answer internal/blockhash internal/prompt internal/sensitive", caddy, zap, prometheus, xxhash, humanize,
		"github.com/andybalholm/brotli github.com/klauspost/compress")},
	{"janitor/pii", "internal/sensitive"},

	{"kvaware", join("janitor internal/answer internal/endpoint internal/engine/kvevents internal/following internal/lmcache internal/modelunion",
		"internal/outlier internal/proxies internal/responses internal/routing internal/staging internal/transport internal/upstreams internal/volatile internal/volatile/needs",
		caddy, zap, prometheus, humanize)},

	{"internal/adapter", join(caddy, "go.yaml.in/yaml/v3")},
	{"internal/admission", ""},
	{"internal/answer", "internal/prompt internal/sensitive"},
	{"internal/backoff", ""},
	{"internal/blockhash", xxhash},
	{"internal/commands", join("janitor/pii internal/answer internal/replay internal/sim/enginesim", caddy, humanize, "github.com/spf13/cobra")},
	{"internal/endpoint", ""},
	{"internal/engine/kvevents", join("internal/backoff internal/engine/msgpack internal/engine/zmtp radixcache", xxhash)},
	{"internal/engine/metrics", "internal/backoff"},
	{"internal/engine/msgpack", ""},
	{"internal/engine/zmtp", ""},
	{"internal/following", join("internal/endpoint internal/engine/kvevents internal/kvindex internal/prompt internal/routing internal/tokenize", prometheus)},
	{"internal/kvindex", join("internal/blockhash internal/engine/kvevents internal/sensitive radixcache", xxhash)},
	{"internal/lmcache", "internal/backoff"},
	{"internal/modelunion", join("internal/transport", caddy)},
	{"internal/outlier", ""},
	{"internal/prompt", "internal/sensitive"},
	{"internal/proxies", caddy},
	{"internal/replay", join("internal/blockhash internal/prompt internal/routing", xxhash)},
	{"internal/responses", xxhash},
	{"internal/routing", "internal/engine/kvevents internal/kvindex radixcache"},
	{"internal/sensitive", ""},
	{"internal/sim/enginesim", xxhash},
	{"internal/sim/lmcachesim", join("internal/sim/enginesim", xxhash)},
	{"internal/staging", join("internal/lmcache internal/prompt internal/routing internal/tokenize", prometheus, xxhash)},
	{"internal/tokenize", "internal/backoff internal/prompt internal/sensitive"},
	{"internal/transport", join("internal/outlier", caddy, zap)},
	{"internal/upstreams", "internal/endpoint internal/engine/metrics internal/routing"},
	{"internal/volatile", "github.com/landlock-lsm/go-landlock golang.org/x/sys"},
	{"internal/volatile/needs", join("internal/volatile", caddy, certmagic)},

	{"integration", join("kvaware internal/sim", caddy, prometheus, ".")},
}

func join(lists ...string) string { return strings.Join(lists, " ") }

// The rules that every row of the map keeps too, so that a change of the map
// does not break them unnoticed.
const (
	oneWay     = "kvaware imports janitor, never the other way"
	noCaddy    = "core packages do not import Caddy"
	simulators = "simulators are linked by kv-demo and by tests only"
	mapped     = "a room imports what the map allows"
)

// caddyRooms are the rooms that may import Caddy.
var caddyRooms = []string{".", "cmd/caddy", "janitor", "kvaware", "internal/adapter", "internal/commands", "internal/modelunion", "internal/proxies", "internal/transport",
	"internal/volatile/needs", "integration"}

// broken returns the rule that an import breaks, or "". Both are paths below the
// module, or of other modules.
func broken(importer, imported string) string {
	own, there := roomOf(importer), roomOf(imported)
	switch {
	case under(own, "janitor") && there == "kvaware":
		return oneWay
	case (under(imported, caddy) || under(imported, certmagic)) && !slices.Contains(caddyRooms, own):
		return noCaddy
	case under(imported, "internal/sim/lmcachesim") && own != "integration" && own != "internal/sim/lmcachesim",
		under(imported, "internal/sim") && own != "integration" && own != "internal/commands" && !under(own, "internal/sim"):
		return simulators
	case !allowed(own, imported, there):
		return mapped
	}
	return ""
}

func allowed(own, imported, there string) bool {
	if own == there {
		return true
	}
	i := slices.IndexFunc(rooms, func(r room) bool { return r.path == own })
	if i < 0 {
		return false
	}
	return slices.ContainsFunc(strings.Fields(rooms[i].imports), func(entry string) bool {
		if there != "" { // rooms below a room have entries of their own, but for the simulators
			return entry == there || entry == "internal/sim" && under(there, entry)
		}
		return under(imported, entry)
	})
}

// roomOf returns the innermost room of a package, or "" where there is none.
func roomOf(path string) (found string) {
	if path == "." {
		return "."
	}
	for _, r := range rooms {
		if r.path != "." && under(path, r.path) && len(r.path) > len(found) {
			found = r.path
		}
	}
	return found
}

func under(path, tree string) bool { return path == tree || strings.HasPrefix(path, tree+"/") }

// listed is a package in the output of `go list -json`.
type listed struct {
	ImportPath string
	Imports    []string // not those of tests
}

// below returns a package's path below the module.
func below(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

func list(t *testing.T) (all []listed) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for in := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestArrows checks every import of every package, but for those of tests,
// against the map.
func TestArrows(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range list(t) {
		path := below(p.ImportPath)
		home := roomOf(path)
		if home == "" {
			t.Errorf("%s is in no room: add one to the map here and in docs/architecture.md", path)
			continue
		}
		seen[home] = true
		for _, imported := range p.Imports {
			if standard(imported) {
				continue
			}
			if rule := broken(path, below(imported)); rule != "" {
				t.Errorf("%s imports %s, against the rule: %s", path, below(imported), rule)
			}
		}
	}
	for _, r := range rooms {
		if !seen[r.path] {
			t.Errorf("the map has the room %s, which has no package", r.path)
		}
	}
}

// standard reports whether a package is of the standard library.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// TestBrokenArrowsAreFound breaks each rule.
func TestBrokenArrowsAreFound(t *testing.T) {
	for _, c := range []struct{ importer, imported, rule string }{
		{"janitor", "kvaware", oneWay},
		{"janitor/pii", "kvaware", oneWay},
		{"internal/routing", caddy + "/modules/caddyhttp", noCaddy},
		{"radixcache", caddy, noCaddy},
		{"kvaware", "internal/sim/enginesim", simulators},
		{"internal/replay", "internal/sim/enginesim", simulators},
		{"internal/commands", "internal/sim/lmcachesim", simulators},
		{"kvaware", "internal/kvindex", mapped},
		{"kvaware", "janitor/pii", mapped},
		{"internal/routing", "kvaware", mapped},
		{"janitor/pii", zap, mapped},
		{"internal/backoff", "internal/prompt", mapped},

		{"kvaware", "janitor", ""},
		{"kvaware", caddy + "/modules/caddyhttp", ""},
		{"internal/commands", "internal/sim/enginesim", ""},
		{"internal/sim/lmcachesim", "internal/sim/enginesim", ""},
		{"integration/harness", "internal/sim/lmcachesim", ""},
		{"cmd/caddy", ".", ""},
	} {
		if rule := broken(c.importer, c.imported); rule != c.rule {
			t.Errorf("%s imports %s: the rule is %q, want %q", c.importer, c.imported, rule, c.rule)
		}
	}
}

// TestMapIsNotStale finds unneeded rows: what the map allows and no package uses.
func TestMapIsNotStale(t *testing.T) {
	used := make(map[string]bool)
	for _, p := range list(t) {
		own := roomOf(below(p.ImportPath))
		for _, imported := range p.Imports {
			for _, r := range rooms {
				for _, entry := range strings.Fields(r.imports) {
					if r.path == own && (under(below(imported), entry)) {
						used[r.path+" "+entry] = true
					}
				}
			}
		}
	}
	for _, r := range rooms {
		for _, entry := range strings.Fields(r.imports) {
			if !used[r.path+" "+entry] {
				t.Errorf("the map allows %s to import %s, which it does not", r.path, entry)
			}
		}
	}
}

// TestRoomsAreDocumented checks that docs/architecture.md has a row for each
// room: a table row whose first cell names its folder in backquotes.
func TestRoomsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile(root + "/docs/architecture.md")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("there is no docs/architecture.md")
	}
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || strings.TrimSpace(cells[0]) != "" {
			continue
		}
		for i, name := range strings.Split(cells[1], "`") {
			if i%2 == 1 {
				documented[strings.TrimSuffix(name, "/")] = true
			}
		}
	}
	for _, r := range rooms {
		name := r.path
		if !documented[name] {
			t.Errorf("no table of docs/architecture.md has a row for %s", name)
		}
	}
}
