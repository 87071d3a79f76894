// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/upstreams"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// lineage identifies the model for which a name stands at an upstream. Prompts of one
// lineage share the engine's KV cache, under whichever name they are sent.
type lineage struct {
	model   string // the first name that the engine lists for the model
	adapter string // its LoRA adapter as in the engine's KV events, "" for none
}

// lineages says what the name of a request's model stands for at each upstream.
type lineages struct {
	name   string
	known  *upstreams.Lineages // nil: the name stands for itself everywhere
	router *routing.Router     // knows adapters by the engines' events
	usual  lineage             // at the first upstream that lists the name
	base   upstreams.Model     // the model there whose tokenizer and layers are used
}

// lineagesOf returns the lineages of a name. pool holds all upstreams of the proxy.
func (p *Policy) lineagesOf(name string, pool reverseproxy.UpstreamPool, r *http.Request) lineages {
	l := lineages{name: name, router: p.shared.router, usual: lineage{model: name}, base: upstreams.Model{Name: name, Lineage: name}}
	known := p.shared.upstreams.Lineages()
	if !known.HasKin(name) && l.router.Index().Adapter(name) == "" {
		return l
	}
	l.known = known
	for _, u := range pool {
		at := address(u, r)
		if m, listed := known.At(at, name); listed {
			l.usual = l.of(m)
			l.base, _ = known.At(at, m.Base())
			return l
		}
	}
	l.usual = l.of(l.base)
	return l
}

// at returns the lineage at an upstream.
func (l *lineages) at(upstream string) lineage {
	if l.known == nil {
		return l.usual
	}
	m, _ := l.known.At(upstream, l.name)
	return l.of(m)
}

// of returns the lineage of a model. Engines that do not list the parents of adapters
// name adapters in their events.
func (l *lineages) of(m upstreams.Model) lineage {
	switch {
	case m.Parent != "":
		return lineage{m.Lineage, m.Name}
	case m.Lineage != m.Name:
		return lineage{m.Lineage, ""}
	}
	return lineage{m.Lineage, l.router.Index().Adapter(m.Name)}
}

// shown returns what a report says of an upstream: the lineage there, "" where the
// name is the first of its lineage, and the parent of an adapter.
func (l *lineages) shown(upstream string) (lineage, parent string) {
	if l.known == nil {
		return "", ""
	}
	m, _ := l.known.At(upstream, l.name)
	if m.Lineage != m.Name {
		lineage = m.Lineage
	}
	return lineage, m.Parent
}

// storedAs returns the name of the model in caches beside the engine: where it was
// loaded from, if the engine says so.
func (l *lineages) storedAs() string { return cmp.Or(l.base.Root, l.base.Lineage) }

// lineagePrompt is a request's prompt under one lineage of its model.
type lineagePrompt struct {
	lineage  lineage
	prompt   following.SignedPrompt
	identity routing.Identity
}

// identify gives candidates the identity of the request's prompt there, where it is
// another than usual.
func (p *Policy) identify(s *signedRequest, x *janitor.Exchange, candidates []routing.Candidate) {
	if s.lineages.known == nil {
		return
	}
	for i := range candidates {
		candidates[i].Identity = p.identityAt(s, x, candidates[i].Address)
	}
}

// identityAt returns the identity of the request's prompt at an upstream, nil for the
// usual one.
func (p *Policy) identityAt(s *signedRequest, x *janitor.Exchange, upstream string) *routing.Identity {
	at := s.lineages.at(upstream)
	if at == s.lineages.usual {
		return nil
	}
	if i := slices.IndexFunc(s.others, func(o *lineagePrompt) bool { return o.lineage == at }); i >= 0 {
		return &s.others[i].identity
	}
	other, _, ok := p.signAs(at, x, &s.signer)
	if !ok {
		return nil // it was signed before, so it has a signature until its answer begins
	}
	s.others = append(s.others, &other)
	return &other.identity
}

// promptAt returns the request's prompt as it is linked to the tokens of an upstream.
func (s *signedRequest) promptAt(upstream string) following.SignedPrompt {
	if s.lineages.known == nil {
		return s.prompt
	}
	at := s.lineages.at(upstream)
	if at == s.lineages.usual {
		return s.prompt
	}
	for _, o := range s.others {
		if o.lineage == at {
			return o.prompt
		}
	}
	unlinked := s.prompt // it was never a candidate
	unlinked.Unlinked = true
	return unlinked
}
