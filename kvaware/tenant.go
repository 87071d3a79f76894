// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
)

// tenant is who a request belongs to.
type tenant struct {
	id     string // a keyed hash, never the name itself; empty: tenants are not told apart
	nobody bool   // the name is empty: the id is used once
}

// tenant reads the request's tenant. Its name is hashed under the key, so that
// neither the engine nor anything kept here learns it.
func (p *Policy) tenant(r *http.Request, key []byte) tenant {
	if p.Tenant == "" {
		return tenant{}
	}
	return p.tenantNamed(replacer(r).ReplaceAll(p.Tenant, ""), key)
}

// tenantNamed is the tenant of a name.
func (p *Policy) tenantNamed(name string, key []byte) tenant {
	if p.Tenant == "" {
		return tenant{}
	}
	if name == "" {
		var once [16]byte
		rand.Read(once[:]) // never fails: crypto/rand ends the process instead
		return tenant{id: hex.EncodeToString(once[:]), nobody: true}
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("tenant\x00"))
	mac.Write([]byte(name))
	return tenant{id: hex.EncodeToString(mac.Sum(nil)[:16])}
}
