// SPDX-License-Identifier: Apache-2.0

package architecture

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// guest is a program outside the repository: a Caddy with the gateway and a
// recognizer of its own, as `xcaddy build --with` makes it.
const guest = `package main

import (
	"bytes"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/bauxite/caddy-kvaware"
	"github.com/bauxite/caddy-kvaware/janitor"
	"github.com/bauxite/caddy-kvaware/janitor/pii"
	"github.com/bauxite/caddy-kvaware/kvaware"
)

func init() { caddy.RegisterModule(badges{}) }

// badges finds the badge BADGE-42.
type badges struct{}

func (badges) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "pii_janitor.recognizers.badges", New: func() caddy.Module { return new(badges) }}
}

func (badges) Name() string       { return "badges" }
func (badges) Entity() pii.Entity { return "BADGE" }

func (badges) Find(text []byte, dst []pii.Span) []pii.Span {
	if i := bytes.Index(text, []byte("BADGE-42")); i >= 0 {
		dst = append(dst, pii.Span{Start: i, End: i + 8, Entity: "BADGE"})
	}
	return dst
}

var (
	_ pii.Recognizer = badges{}
	_ caddy.Module   = (*janitor.Handler)(nil)
	_ caddy.Module   = (*kvaware.Policy)(nil)
)

func main() { caddycmd.Main() }
`

const guestSite = `:8080 {
	pii_janitor {
		recognizers +badges
	}
	reverse_proxy node-a:8000 {
		lb_policy kv_aware
	}
}
`

// TestGuestBuilds builds the guest as a module of its own and has it validate a
// config that uses its recognizer.
func TestGuestBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("links a Caddy")
	}
	repository, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	// The versions and sums of the repository, which are in the module cache.
	mod := strings.Replace(read("go.mod"), "module "+module, "module guest", 1)
	write("go.mod", mod+"\nrequire "+module+" v0.0.0\n\nreplace "+module+" => "+repository+"\n")
	write("go.sum", read("go.sum"))
	write("main.go", guest)
	write("Caddyfile", guestSite)
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off", "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("go", "build", "-o", "guest", ".")
	if out := run("./guest", "validate", "--config", "Caddyfile"); !strings.Contains(out, "Valid configuration") {
		t.Errorf("validating the config: %s", out)
	}
}
