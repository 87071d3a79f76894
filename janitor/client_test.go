// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestClientAddr(t *testing.T) {
	cases := []struct{ remote, clientIP, want string }{
		{"192.0.2.1:1234", "", "192.0.2.1"},
		{"192.0.2.1:1234", "198.51.100.7", "198.51.100.7"},
		{"[2001:db8:1:2:3:4:5:6]:1234", "", "2001:db8:1:2::"},
		{"192.0.2.1:1234", "::ffff:198.51.100.7", "198.51.100.7"},
		{"192.0.2.1:1234", "fe80::1%eth0", "fe80::"},
		{"@", "", "invalid IP"},
	}
	for _, c := range cases {
		r := newRequest("POST", "/", nil)
		r.RemoteAddr = c.remote
		if c.clientIP != "" {
			caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, c.clientIP)
		}
		if got := clientAddr(r).String(); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.remote, c.clientIP, got, c.want)
		}
	}
}
