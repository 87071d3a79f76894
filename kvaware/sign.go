// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

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
	lineages    lineages
	others      []*lineagePrompt // under lineages that are not the usual one
	promptBytes int              // of its rendition
	media       int              // images and the like in it
	signer      signer
}

// signer holds what a signature depends on besides the prompt.
type signer struct {
	tenant   tenant
	salt     string // cache_salt, as the engine gets it
	key      *signingKey
	sharedBy string // the tenant and salt
}

// signed reports whether the request has a signature.
func (s *signedRequest) signed() bool { return s.request != nil }

// sign signs a scrubbed request for a tenant. pool holds all upstreams of the proxy.
func (p *Policy) sign(x *janitor.Exchange, t tenant, signing *signingKey, pool reverseproxy.UpstreamPool, r *http.Request) signedRequest {
	s := signedRequest{
		lineages: p.lineagesOf(x.Model(), pool, r),
		signer:   signer{tenant: t, salt: x.CacheSalt(), key: signing, sharedBy: t.id},
	}
	if s.signer.salt != t.id {
		s.signer.sharedBy += "\x00" + s.signer.salt // the client's own salt: the engine separates by it
	}
	own, signature, ok := p.signAs(s.lineages.usual, x, &s.signer)
	if !ok {
		return signedRequest{}
	}
	s.prompt, s.promptBytes, s.media = own.prompt, signature.PromptBytes(), signature.Media()
	s.request = p.shared.router.NewRequest(p.routingPrompt(x, signature, &own.identity, &s))
	return s
}

// signAs signs a scrubbed request under a lineage of its model.
func (p *Policy) signAs(l lineage, x *janitor.Exchange, by *signer) (own lineagePrompt, signature janitor.Signature, ok bool) {
	signature, ok = x.Sign(by.key.key, l.model, by.sharedBy, p.BlockSize, p.RadixDepth)
	if !ok {
		return own, signature, false
	}
	own = lineagePrompt{lineage: l, prompt: p.signedPrompt(signature, l, by)}
	own.identity.TokenKey = own.prompt.TokenKey
	if p.Events != nil {
		own.identity.MessageEnds = own.prompt.Ends
	}
	if !by.tenant.anonymous {
		own.identity.Chain = own.prompt.Chain
	}
	return own, signature, true
}

// signedPrompt returns the prompt as the token linker and the stager need it.
func (p *Policy) signedPrompt(signature janitor.Signature, l lineage, by *signer) following.SignedPrompt {
	prompt := following.SignedPrompt{
		Chain:        signature.Chain(),
		BlockBytes:   signature.BlockSize(),
		CoveredBytes: signature.CoveredBytes(),
		Variant:      signature.Variant(),
		Epoch:        by.key.epoch,
		Salt:         by.salt,
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
			Model:   l.model,
			Adapter: l.adapter,
			Salt:    kvevents.SaltExtra(by.salt),
			Variant: signature.Variant(),
		}
	}
	return prompt
}

// routingPrompt returns the prompt as the router needs it.
func (p *Policy) routingPrompt(x *janitor.Exchange, signature janitor.Signature, own *routing.Identity, s *signedRequest) routing.Prompt {
	router := p.shared.router
	perToken := router.BytesPerToken(s.lineages.base.Lineage)
	prompt := routing.Prompt{
		Chain:          own.Chain,
		Tokens:         int(float64(s.promptBytes) / perToken),
		BlockTokens:    max(1, int(float64(signature.BlockSize())/perToken)),
		Epoch:          s.prompt.Epoch,
		Stream:         x.Stream(),
		Truncated:      signature.Cut(),
		NoCache:        signature.NoCache(),
		Doubtful:       signature.Doubtful(),
		BlockBytes:     signature.BlockSize(),
		MessageEnds:    own.MessageEnds,
		TokenKey:       own.TokenKey,
		OffloadWeights: p.offloadWeights,
	}
	if s.media > 0 {
		prompt.Tokens += int(float64(s.media) * router.MediaTokens(s.lineages.base.Lineage))
	} else {
		prompt.Bytes = s.promptBytes
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
