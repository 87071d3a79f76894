// SPDX-License-Identifier: Apache-2.0

package needs

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
)

// config takes the root of the storage, options of tls, automatic_https of the
// server, the host that it serves, and further apps.
const config = `{
	"admin": {"disabled": true},
	"storage": {"module": "file_system", "root": %q},
	"apps": {
		"tls": {%s},
		"http": {"servers": {"s": {"listen": ["127.0.0.1:8443"], "automatic_https": {%s},
			"routes": [{"match": [{"host": [%q]}], "handle": [{"handler": "static_response"}]}]}}}%s
	}
}`

const (
	quiet = `"disable_storage_check": true, "disable_storage_clean": true`
	host  = "llm.example.com"
)

// TestOf provisions configs, without starting them.
func TestOf(t *testing.T) {
	for name, c := range map[string]struct {
		tls, https, host, apps string
		want                   []Need
	}{
		"no HTTPS":        {tls: quiet, https: `"disable": true`, host: host},
		"no certificates": {tls: quiet, https: `"disable_certificates": true`, host: host},
		"skipped":         {tls: quiet, https: `"skip": ["llm.example.com"]`, host: host},
		"no certificate":  {tls: quiet, https: `"skip_certificates": ["llm.example.com"]`, host: host},
		"no valid name":   {tls: quiet, host: "example.com."},
		"certificates":    {tls: quiet, host: host, want: []Need{Certificates}},
		"placeholder":     {tls: quiet, host: "{env.NEEDS_TEST_HOST}", want: []Need{Certificates}},
		"defaults":        {https: `"disable": true`, host: host, want: []Need{StorageCheck, StorageClean}},
		"on demand": {tls: quiet + `, "automation": {"policies": [{"on_demand": true}],
			"on_demand": {"permission": {"module": "http", "endpoint": "http://127.0.0.1:1"}}}`, https: `"disable": true`, host: host, want: []Need{Certificates}},
		"authority": {tls: quiet, https: `"disable": true`, host: host, apps: `,
			"pki": {"certificate_authorities": {"local": {"install_trust": false}}}`, want: []Need{Authority}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NEEDS_TEST_HOST", host)
			var parsed caddy.Config
			if err := json.Unmarshal(fmt.Appendf(nil, config, t.TempDir(), c.tls, c.https, c.host, c.apps), &parsed); err != nil {
				t.Fatal(err)
			}
			ctx, err := caddy.ProvisionContext(&parsed)
			if err != nil {
				t.Fatal(err)
			}
			// The go command has tests write a log, which stays open.
			got := slices.DeleteFunc(Of(ctx), func(n Need) bool { return n == OpenFiles })
			if !slices.Equal(got, c.want) {
				t.Errorf("needs %v, want %v", got, c.want)
			}
		})
	}
}
