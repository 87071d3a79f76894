// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"golang.org/x/tools/txtar"
)

func adaptText(body string) (string, []caddyconfig.Warning, error) {
	out, warnings, err := caddyconfig.GetAdapter(Name).Adapt([]byte(body), map[string]any{"filename": "bauxite.yaml"})
	return string(out), warnings, err
}

func read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no fixtures %s: %v", pattern, err)
	}
	return names
}

func TestAdapt(t *testing.T) {
	for _, name := range glob(t, "testdata/*.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			out, _, err := adaptText(read(t, name))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, []byte(out), "", "  "); err != nil {
				t.Fatal(err)
			}
			if want := read(t, strings.TrimSuffix(name, "yaml")+"json"); got.String() != strings.TrimSpace(want) {
				t.Errorf("got\n%s", got.String())
			}
		})
	}
}

// invalid returns the configurations that the adapter must refuse.
func invalid(t testing.TB) []txtar.File {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/errors.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) == 0 {
		t.Fatal("the archive of invalid configurations is empty")
	}
	return archive.Files
}

// TestErrors adapts every invalid configuration. Its first line holds the error.
func TestErrors(t *testing.T) {
	for _, file := range invalid(t) {
		t.Run(file.Name, func(t *testing.T) {
			body := string(file.Data)
			first, _, _ := strings.Cut(body, "\n")
			want, ok := strings.CutPrefix(first, "# error: ")
			if !ok {
				t.Fatal("the first line does not hold the error")
			}
			out, _, err := adaptText(body)
			if err == nil {
				t.Fatalf("no error, but %s", out)
			}
			if err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func TestErrorsWithoutFixture(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		b.WriteString("enterprise:\n  clusters:\n    - name: a\n      endpoints:\n")
		for i := range n {
			fmt.Fprintf(&b, "        - http://n%d:1\n", i)
		}
		return b.String()
	}
	for body, want := range map[string]string{
		"":                                      "the configuration is empty: it takes the key enterprise",
		"# nothing":                             "the configuration is empty: it takes the key enterprise",
		"\x00":                                  "not valid YAML",
		"a: \xff":                               "not valid YAML",
		many(10001):                             "line 5: enterprise.clusters[0].endpoints: more than 10000 endpoints in all",
		"a: b\n---":                             "line 2: a second YAML document: the configuration takes one",
		"- {}\n...x":                            "line 2: not valid YAML",
		strings.Repeat("#\n", MaxSize/2) + "\n": "the configuration is larger than 1048576 bytes",
		"enterprise: {clusters: " + strings.Repeat("[", 20000) + "}": "not valid YAML",
	} {
		if _, _, err := adaptText(body); err == nil || err.Error() != want {
			t.Errorf("%.30q: %v, want %s", body, err, want)
		}
	}
	if _, _, err := adaptText(many(10000)); err != nil {
		t.Errorf("10000 endpoints: %v", err)
	}
}

// TestAliasBomb checks that a few lines of aliases cannot become millions of endpoints.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("enterprise:\n  clusters:\n    - name: n0\n      endpoints: &e\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "        - http://n%d:1\n", i)
	}
	for i := range 900 {
		fmt.Fprintf(&b, "    - {name: n%d, endpoints: *e}\n", i+1)
	}
	const want = "line 5006: enterprise.clusters[2].endpoints: more than 10000 endpoints in all"
	if _, _, err := adaptText(b.String()); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	_, warnings, err := adaptText(read(t, "testdata/minimal.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	want := []string{
		"bauxite.yaml:3 (enterprise.routing): missing: strategy kv_aware over whole prompts, fallback least_busy",
		"bauxite.yaml:5 (enterprise.clusters[0].endpoints): one endpoint: there is nothing to choose between",
		"bauxite.yaml:5 (enterprise.clusters[1].endpoints[0]): also in another cluster: they share its load and its index",
		"bauxite.yaml:7 (enterprise.clusters[1].endpoints): one endpoint: there is nothing to choose between",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if _, warnings, _ := adaptText(read(t, "testdata/surface.yaml")); len(warnings) != 0 {
		t.Errorf("the configuration users have gets warnings: %v", warnings)
	}
}

// strictDecode decodes JSON into one of Caddy's types; an unknown field is an
// error.
func strictDecode(t *testing.T, raw []byte, v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Errorf("%v in %s", err, raw)
	}
}

// handler returns a handler's name, and its JSON without the name.
func handler(t *testing.T, raw json.RawMessage) (name string, rest []byte) {
	t.Helper()
	var m map[string]json.RawMessage
	strictDecode(t, raw, &m)
	strictDecode(t, m["handler"], &name)
	delete(m, "handler")
	rest, _ = json.Marshal(m)
	return name, rest
}

// TestFieldsAreCaddys decodes the output into Caddy's own types.
func TestFieldsAreCaddys(t *testing.T) {
	out, _, err := adaptText(read(t, "testdata/clusters.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	strictDecode(t, []byte(out), &cfg)
	if cfg.Admin.Listen != "localhost:2019" || cfg.Admin.Config.Persist == nil || *cfg.Admin.Config.Persist {
		t.Errorf("admin %+v", cfg.Admin)
	}
	var tls caddytls.TLS
	strictDecode(t, cfg.AppsRaw["tls"], &tls)
	if !tls.DisableStorageCheck || !tls.DisableStorageClean {
		t.Error("the storage is checked or cleaned")
	}
	var app caddyhttp.App
	strictDecode(t, cfg.AppsRaw["http"], &app)
	srv := app.Servers["bauxite"]
	if len(app.Servers) != 1 || srv.Listen[0] != ":8080" || !srv.AutoHTTPS.Disabled || len(srv.Routes) != 4 {
		t.Errorf("servers %+v", app.Servers)
	}
	if name, rest := handler(t, srv.Routes[0].HandlersRaw[0]); name != "pii_janitor" || string(rest) != "{}" ||
		len(srv.Routes[0].MatcherSetsRaw) != 0 || srv.Routes[0].Terminal {
		t.Errorf("the first route is not the janitor for everything: %s %s", name, rest)
	}
	proxies := 0
	for _, route := range srv.Routes[1:] {
		for _, raw := range route.HandlersRaw {
			switch name, rest := handler(t, raw); name {
			case "rewrite":
				strictDecode(t, rest, &rewrite.Rewrite{})
			case "reverse_proxy":
				var p reverseproxy.Handler
				strictDecode(t, rest, &p)
				if p.LoadBalancing.Retries != 0 || p.HealthChecks != nil || len(p.Upstreams) < 2 {
					t.Errorf("proxy %s", rest)
				}
				proxies++
			default:
				t.Errorf("handler %s", name)
			}
		}
	}
	if proxies != 3 {
		t.Errorf("%d proxies", proxies)
	}
}

// TestFallbacksExist checks that every fallback is a policy of Caddy that needs no
// argument.
func TestFallbacksExist(t *testing.T) {
	for name, policy := range fallbacks {
		module, err := caddy.GetModule("http.reverse_proxy.selection_policies." + policy)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v, ok := module.New().(caddy.Validator); ok && v.Validate() != nil {
			t.Errorf("%s needs an argument", name)
		}
		out, _, err := adaptText("enterprise: {routing: {fallback: " + name + "}, clusters: [{name: a, endpoints: ['http://n', 'http://m']}]}")
		if err != nil || !strings.Contains(out, `"fallback":{"policy":"`+policy+`"}`) {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}

// FuzzAdapt checks that the adapter never panics, that its output is JSON with the
// janitor first, and that errors are one short line.
func FuzzAdapt(f *testing.F) {
	for _, name := range glob(f, "testdata/*.yaml") {
		f.Add([]byte(read(f, name)))
	}
	for _, file := range invalid(f) {
		f.Add(file.Data)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		out, _, err := Adapter{}.Adapt(body, nil)
		if err != nil {
			if text := err.Error(); out != nil || len(text) > 300 || strings.ContainsAny(text, "\n\r\x00") {
				t.Fatalf("error %q, output %q", text, out)
			}
			return
		}
		if !json.Valid(out) || !strings.Contains(string(out), `"routes":[{"handle":[{"handler":"pii_janitor"}]},{"match"`) {
			t.Fatalf("output %s", out)
		}
	})
}
