// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// signedRequest is a request with its signature, as the router, the token linker
// and the stager each need it.
type signedRequest struct {
	request     *routing.Request // nil: it has no signature, the fallback routes it
	prompt      following.SignedPrompt
	model       string
	promptBytes int // of its rendition
	media       int // images and the like in it
}

// signed reports whether the request has a signature.
func (s *signedRequest) signed() bool { return s.request != nil }

// sign signs a scrubbed request for a tenant.
func (p *Policy) sign(x *janitor.Exchange, t tenant, signing *signingKey) signedRequest {
	sharedBy, salt := t.id, x.CacheSalt()
	if salt != t.id {
		sharedBy += "\x00" + salt // the client's own salt: the engine separates by it
	}
	signature, ok := x.Sign(signing.key, x.Model(), sharedBy, p.BlockSize, p.RadixDepth)
	if !ok {
		return signedRequest{}
	}
	s := signedRequest{
		prompt:      p.signedPrompt(x, signature, salt, signing.epoch),
		model:       x.Model(),
		promptBytes: signature.PromptBytes(),
		media:       signature.Media(),
	}
	s.request = p.shared.router.NewRequest(p.routingPrompt(x, signature, t, &s))
	return s
}

// signedPrompt returns the prompt as the token linker and the stager need it.
func (p *Policy) signedPrompt(x *janitor.Exchange, signature janitor.Signature, salt string, epoch uint64) following.SignedPrompt {
	prompt := following.SignedPrompt{
		Chain:        signature.Chain(),
		BlockBytes:   signature.BlockSize(),
		CoveredBytes: signature.CoveredBytes(),
		Variant:      signature.Variant(),
		Epoch:        epoch,
		Salt:         salt,
		Unlinked:     p.Events == nil,
	}
	if p.Events == nil && p.LMCache == nil {
		return prompt // nothing uses the ends
	}
	for _, end := range signature.Ends() {
		prompt.Ends = append(prompt.Ends, routing.MessageEnd(end))
	}
	if p.Events != nil {
		prompt.TokenKey = routing.TokenKey{
			Model:   x.Model(),
			Adapter: p.shared.router.Index().Adapter(x.Model()),
			Salt:    kvevents.SaltExtra(salt),
			Variant: signature.Variant(),
		}
	}
	return prompt
}

// routingPrompt returns the prompt as the router needs it.
func (p *Policy) routingPrompt(x *janitor.Exchange, signature janitor.Signature, t tenant, s *signedRequest) routing.Prompt {
	router := p.shared.router
	perToken := router.BytesPerToken(s.model)
	prompt := routing.Prompt{
		Tokens:         int(float64(s.promptBytes) / perToken),
		BlockTokens:    max(1, int(float64(signature.BlockSize())/perToken)),
		Epoch:          s.prompt.Epoch,
		Stream:         x.Stream(),
		Truncated:      signature.Cut(),
		BlockBytes:     signature.BlockSize(),
		TokenKey:       s.prompt.TokenKey,
		OffloadWeights: p.offloadWeights,
	}
	if s.media > 0 {
		prompt.Tokens += int(float64(s.media) * router.MediaTokens(s.model))
	} else {
		prompt.Bytes = s.promptBytes
	}
	if p.Events != nil {
		prompt.MessageEnds = s.prompt.Ends
	}
	if !t.anonymous {
		prompt.Chain = s.prompt.Chain
	}
	return prompt
}

// tenant is the party that a request belongs to.
type tenant struct {
	id        string // a keyed hash, never the name itself; "": tenants are not told apart
	anonymous bool   // the name is empty: the id is used once
}

// tenant returns the tenant of a request. Its name is hashed under the key, so
// that neither the engine nor the router learns it.
func (p *Policy) tenant(r *http.Request, key []byte) tenant {
	if p.Tenant == "" {
		return tenant{}
	}
	return p.tenantNamed(replacer(r).ReplaceAll(p.Tenant, ""), key)
}

// tenantNamed returns the tenant with a name.
func (p *Policy) tenantNamed(name string, key []byte) tenant {
	if p.Tenant == "" {
		return tenant{}
	}
	if name == "" {
		var once [16]byte
		rand.Read(once[:]) // never fails: crypto/rand ends the process instead
		return tenant{id: hex.EncodeToString(once[:]), anonymous: true}
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("tenant\x00"))
	mac.Write([]byte(name))
	return tenant{id: hex.EncodeToString(mac.Sum(nil)[:16])}
}
