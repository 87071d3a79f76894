// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestTenant(t *testing.T) {
	key, other := []byte("0123456789abcdef"), []byte("fedcba9876543210")
	request := func(user string) *http.Request {
		r := httptest.NewRequest("POST", "/", nil)
		repl := caddy.NewReplacer()
		repl.Set("http.auth.user.id", user)
		return r.WithContext(contextWith(r, repl))
	}
	p := &Policy{Tenant: "{http.auth.user.id}"}
	alice := p.tenant(request("alice"), key)
	if alice.anonymous || len(alice.id) != 32 || strings.Contains(alice.id, "alice") {
		t.Fatalf("alice is %+v", alice)
	}
	if p.tenant(request("alice"), key) != alice {
		t.Fatal("the same tenant twice is not the same")
	}
	if p.tenant(request("bob"), key) == alice || p.tenant(request("alice"), other) == alice {
		t.Fatal("another tenant, or another key, gives the same id")
	}
	one, two := p.tenant(request(""), key), p.tenant(request(""), key)
	if !one.anonymous || one == two {
		t.Fatal("requests without a tenant share")
	}
	if (&Policy{}).tenant(request("alice"), key) != (tenant{}) {
		t.Fatal("tenants are separated though the option is not set")
	}
}
