// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

const examples = harness.Root + "/caddyfile-examples"

var update = flag.Bool("update", false, "write the examples' JSON anew from their Caddyfiles")

// adapt returns a config as indented JSON.
func adapt(t *testing.T, adapter string, config []byte) []byte {
	t.Helper()
	raw, warnings, err := caddyconfig.GetAdapter(adapter).Adapt(config, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("adapting: %v", err)
	}
	if len(warnings) > 0 {
		t.Fatalf("adapting: %v", warnings)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// Each example is valid, and adapts without a warning to the JSON file beside it.
func TestExamplesAdapt(t *testing.T) {
	for _, name := range exampleFiles(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			config, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			adapter, sibling := "caddyfile", strings.TrimSuffix(name, ".Caddyfile")+".json"
			if filepath.Ext(name) == ".yaml" {
				adapter, sibling = "bauxite", name+".json"
			}
			got := adapt(t, adapter, config)
			if *update {
				if err := os.WriteFile(sibling, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(sibling)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("does not adapt to %s; go test ./integration/gateway -run ExamplesAdapt -update writes that file", sibling)
			}
			var c caddy.Config
			if err := json.Unmarshal(got, &c); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&c); err != nil {
				t.Fatalf("caddy validate: %v", err)
			}
		})
	}
}

func exampleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(examples + "/*.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	yaml, err := filepath.Glob(examples + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if files = append(files, yaml...); len(files) < 7 {
		t.Fatalf("only %d examples found", len(files))
	}
	return files
}

// Each example, and its JSON, starts and serves a scrubbed request. The test
// replaces only addresses and the source of the certificate.
func TestExamplesServe(t *testing.T) {
	crt, key := certificate(t)
	for _, name := range exampleFiles(t) {
		for _, form := range []string{"as it is", "its JSON"} {
			t.Run(filepath.Base(name)+", "+form, func(t *testing.T) {
				engines := harness.StartEngines(t, 4, enginesim.Config{Speed: 50, Record: 4, Responder: enginesim.Echo})
				g := startExample(t, name, form == "its JSON", engines, crt, key)
				askExample(t, g, engines, filepath.Base(name))
			})
		}
	}
}

// startExample starts an example, or its JSON, before these engines.
func startExample(t *testing.T, name string, asJSON bool, engines []*enginesim.Engine, crt, key string) *harness.Gateway {
	t.Helper()
	adapter, file := "caddyfile", name
	if filepath.Ext(name) == ".yaml" {
		adapter = "bauxite"
	}
	if asJSON {
		adapter, file = "json", strings.TrimSuffix(name, ".Caddyfile")+".json"
		if filepath.Ext(name) == ".yaml" {
			file = name + ".json"
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer(
		// The lock would hold for all later tests. The test under strace runs
		// this example unchanged.
		"volatile_only require", "volatile_only off", `"volatile_only": "require"`, `"volatile_only": "off"`,
		"node-a:8000", engines[0].Addr(), "node-b:8000", engines[1].Addr(),
		"node-c:8000", engines[2].Addr(), "node-d:8000", engines[3].Addr(),
		"vllm.internal 8000 {", "localhost "+port(engines[0])+" {\n versions ipv4",
		`"name": "vllm.internal"`, `"name": "localhost", "versions": {"ipv4": true}`,
		`"port": "8000"`, `"port": "`+port(engines[0])+`"`,
	).Replace(string(raw))
	if filepath.Base(name) == "production.Caddyfile" {
		adapter, config = "json", withCertificate(t, harness.Adapt(t, adapter, config), crt, key)
	}
	g := harness.StartGateway(t, adapter, config)
	if filepath.Base(name) == "production.Caddyfile" {
		g.URL = strings.Replace(g.URL, "http://", "https://", 1)
		g.Client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true, ServerName: "llm.example.com"}
	}
	return g
}

// TestExamplesLoseNothing has one engine of each example fail in several ways. No
// request may be lost. The example with dynamic upstreams has one engine here; the
// tests of faults have it with several.
func TestExamplesLoseNothing(t *testing.T) {
	crt, key := certificate(t)
	for _, name := range exampleFiles(t) {
		if filepath.Base(name) == "dynamic.Caddyfile" {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			engines := harness.StartEngines(t, 4, enginesim.Config{Speed: 50, Responder: enginesim.Echo})
			g := startExample(t, name, false, engines, crt, key)
			for _, fault := range []enginesim.Fault{
				{Kind: enginesim.Status, Status: 500}, {Kind: enginesim.Status, Status: 502}, {Kind: enginesim.Status, Status: 503},
				{Kind: enginesim.Status, Status: 429}, {Kind: enginesim.Reset}, {Kind: enginesim.Refuse},
			} {
				loseNothing(t, g, filepath.Base(name), engines, fault)
			}
		})
	}
}

// loseNothing sends requests while the first engine that the example uses fails.
func loseNothing(t *testing.T, g *harness.Gateway, name string, engines []*enginesim.Engine, fault enginesim.Fault) {
	t.Helper()
	_, _, used := exampleRequest(t, g, name, "hello")
	bad := engines[max(0, used)]
	if err := bad.Fault(fault); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		r, _, _ := exampleRequest(t, g, name, fmt.Sprint("Question ", i))
		if answer := g.Do(t, r); answer.Status != http.StatusOK {
			t.Errorf("%+v, request %d: status %d, body %.200s", fault, i, answer.Status, answer.Body)
		}
	}
	if err := bad.Heal(); err != nil {
		t.Fatal(err)
	}
	harness.Admin(t, http.MethodDelete, "/kv_aware/upstreams", "") // the next fault meets a gateway that knows none
}

// exampleRequest returns a request of a client of that example, the path of the
// API, and the index of the first engine that serves its model, -1 for any.
func exampleRequest(t *testing.T, g *harness.Gateway, name, question string) (r *http.Request, path string, engine int) {
	t.Helper()
	path, model, engine := "/v1/chat/completions", "sim", -1
	switch name {
	case "models.Caddyfile":
		model, engine = "qwen-32b", 2
	case "beside-a-site.Caddyfile":
		path = "/llm" + path
	}
	r, err := http.NewRequest(http.MethodPost, g.URL+path, strings.NewReader(strings.Replace(harness.Chat(question, false), `"sim"`, `"`+model+`"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if name == "production.Caddyfile" {
		r.Host = "llm.example.com"
	}
	return r, path, engine
}

func port(e *enginesim.Engine) string {
	_, port, _ := net.SplitHostPort(e.Addr())
	return port
}

// withCertificate makes a config's server load its certificate from files instead
// of having Caddy obtain one.
func withCertificate(t *testing.T, config []byte, crt, key string) string {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	apps := c["apps"].(map[string]any)
	apps["tls"].(map[string]any)["certificates"] = map[string]any{"load_files": []any{map[string]string{"certificate": crt, "key": key}}}
	for _, s := range apps["http"].(map[string]any)["servers"].(map[string]any) {
		s.(map[string]any)["automatic_https"] = map[string]bool{"disable": true}
		s.(map[string]any)["tls_connection_policies"] = []any{map[string]any{}}
	}
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// askExample sends the request of a client of that example.
func askExample(t *testing.T, g *harness.Gateway, engines []*enginesim.Engine, name string) {
	t.Helper()
	r, path, wantEngine := exampleRequest(t, g, name, "Mail "+harness.SecretMail)
	switch name {
	case "models.Caddyfile":
		if list := g.Get(t, "/v1/models"); !strings.Contains(list.Body, "llama-70b") || !strings.Contains(list.Body, "qwen-32b") {
			t.Fatalf("/v1/models lists %s", list.Body)
		}
		if answer := g.Post(t, path, harness.Chat("hi", false)); answer.Status != http.StatusNotFound {
			t.Fatalf("an unknown model: status %d", answer.Status)
		}
	case "beside-a-site.Caddyfile":
		if page := g.Get(t, "/"); page.Status != http.StatusOK || !strings.Contains(page.Body, "A site") {
			t.Fatalf("the site answers %d", page.Status)
		}
	case "bauxite.yaml":
		if answer := g.Post(t, "/vllm-prod"+path, harness.Chat("hi", false)); answer.Status != http.StatusOK {
			t.Fatalf("the cluster by its name: status %d", answer.Status)
		}
	}
	answer := g.Do(t, r)
	if answer.Status != http.StatusOK || !strings.Contains(answer.Body, harness.SecretMail) {
		t.Fatalf("status %d, not restored: %.300s", answer.Status, answer.Body)
	}
	got := false
	for i, e := range engines {
		for _, r := range e.Received() {
			if strings.Contains(string(r.Body), "[EMAIL_1]") {
				got = wantEngine < 0 || i == wantEngine
			}
			if strings.Contains(string(r.Body), harness.SecretMail) {
				t.Fatal("the address reached an engine")
			}
		}
	}
	if !got {
		t.Fatal("the scrubbed request did not reach the engine of its model")
	}
}

// certificate writes a certificate for llm.example.com to files.
func certificate(t *testing.T) (crt, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"llm.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("llm.crt", "CERTIFICATE", der), write("llm.key", "PRIVATE KEY", pkcs8)
}

// Every config in the documents adapts and provisions.
func TestDocumentedConfigs(t *testing.T) {
	documents, err := filepath.Glob(harness.Root + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(harness.Root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KV_HASH_KEY", "a key for the test")
	found := 0
	for _, name := range append(documents, more...) {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range harness.CodeBlocks(string(raw)) {
			adapter, known := map[string]string{"caddyfile": "caddyfile", "Caddyfile": "caddyfile", "yaml": "bauxite", "json": "json"}[f.Language]
			if !known {
				continue
			}
			found++
			t.Run(fmt.Sprint(filepath.Base(name), " block ", i), func(t *testing.T) {
				var c caddy.Config
				if err := json.Unmarshal(harness.Adapt(t, adapter, f.Text), &c); err != nil {
					t.Fatal(err)
				}
				if err := caddy.Validate(&c); err != nil {
					t.Fatalf("%v in\n%s", err, f.Text)
				}
			})
		}
	}
	if found == 0 {
		t.Fatal("no document shows a config")
	}
}
