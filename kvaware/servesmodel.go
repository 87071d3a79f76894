// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/upstreams"
)

// filterByModel returns the upstreams that may serve a model at an API: all but
// those that are known not to list it, and those that have just answered that they
// lack it. When no available upstream is known to list it, all may serve it that
// have not answered so: some engines serve any name. When none is left, it returns
// all, so that the client gets an engine's error.
func (p *Policy) filterByModel(pool reverseproxy.UpstreamPool, api, model string, r *http.Request) reverseproxy.UpstreamPool {
	if model == "" || len(pool) == 0 {
		return pool
	}
	models := p.shared.upstreams.Models()
	lacking := p.shared.upstreams.Lacking(api, model)
	if lacking == nil && !models.Differ() {
		if has, known := models.Has(address(pool[0], r), model); known && !has {
			p.relist(pool, r)
		}
		return pool
	}
	serving := make(reverseproxy.UpstreamPool, 0, len(pool))
	listed := false
	for _, u := range pool {
		at := address(u, r)
		has, known := models.Has(at, model)
		if (has || !known) && !slices.Contains(lacking, at) {
			serving = append(serving, u)
			listed = listed || has && p.available(u)
		}
	}
	if listed {
		return serving
	}
	p.relist(pool, r)
	willing := serving[:0]
	for _, u := range pool {
		if !slices.Contains(lacking, address(u, r)) {
			willing = append(willing, u)
		}
	}
	if slices.ContainsFunc(willing, p.available) {
		return willing
	}
	return pool
}

// lookAgainInterval is the time between two requests that make the gateway look again
// for a model that no engine lists. Clients can make up names.
const lookAgainInterval = time.Second

// relist has the models of all upstreams read soon, since a request names one that
// none of them lists. Clients may do so at will: it has an effect once a second.
func (p *Policy) relist(pool reverseproxy.UpstreamPool, r *http.Request) {
	if p.observed.relist.due(lookAgainInterval, p.shared.now()) {
		p.shared.upstreams.Relist(addressesOf(pool, r)...)
	}
}

// lacksModel notes that the upstream of the attempt under way has answered 404, and
// nothing but the model can be missing there. The upstream is left out for this
// model for some seconds, or until its list says otherwise. It reports whether
// another upstream that has not been tried may serve the model: one that lists it,
// or whose list is not known. Where the lists are out of date, any other may.
func (s *requestState) lacksModel(r *http.Request) (elsewhere bool) {
	monitor := s.policy.shared.upstreams
	api, model, at := s.exchange.API().String(), s.exchange.Model(), s.tries.Attempt.Address()
	monitor.Lacks(at, api, model)
	models, lacking := monitor.Models(), monitor.Lacking(api, model)
	outdated := s.listsOutdated(models, at, model, r)
	s.tries.Untried = 0
	for _, u := range s.pool {
		other := address(u, r)
		if slices.Contains(s.tries.Tried(), other) || slices.Contains(lacking, other) || !s.policy.available(u) {
			continue
		}
		if has, known := models.Has(other, model); has || !known || outdated {
			s.tries.Untried++
		}
	}
	return s.tries.Untried > 0
}

// listsOutdated reports whether the engines' lists of models may be out of date: the
// upstream at an address lists the model and has answered 404, or none lists it.
// Clients can make up names that none lists, and retries are limited: it believes
// them for one request a second.
func (s *requestState) listsOutdated(models *upstreams.ModelTable, at, model string, r *http.Request) bool {
	if has, _ := models.Has(at, model); has || s.unlisted {
		return true
	}
	for _, u := range s.pool {
		if has, _ := models.Has(address(u, r), model); has {
			return false
		}
	}
	s.unlisted = s.policy.observed.unlisted.due(lookAgainInterval, s.policy.shared.now())
	return s.unlisted
}

// modelsPath ends the path of a list of models, and begins that of one model.
const modelsPath = "/models"

// modelOfPath returns the model that a request asks about, "" for none. Names of
// models can have slashes.
func modelOfPath(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return ""
	}
	_, model, found := strings.Cut(r.URL.Path, "/v1"+modelsPath+"/")
	if !found {
		_, model, _ = strings.Cut(r.URL.Path, modelsPath+"/")
	}
	return model
}

// forModelsPath returns the upstreams for a request about models. One model is
// asked for at the upstreams that list it, as far as that is known and they can
// take the request. For a list the upstreams are remembered.
func (p *Policy) forModelsPath(pool reverseproxy.UpstreamPool, tried []string, r *http.Request) reverseproxy.UpstreamPool {
	if !strings.Contains(r.URL.Path, modelsPath) {
		return pool
	}
	if listsModels(r) {
		if p.Models == modelsUnion {
			caddyhttp.SetVar(r.Context(), poolVar, pool)
		}
		return pool
	}
	model, models := modelOfPath(r), p.shared.upstreams.Models()
	if model == "" || !models.Differ() {
		return pool
	}
	var listing reverseproxy.UpstreamPool
	for _, u := range pool {
		at := address(u, r)
		if has, _ := models.Has(at, model); has && p.available(u) && !slices.Contains(tried, at) {
			listing = append(listing, u)
		}
	}
	if len(listing) > 0 {
		return listing
	}
	return pool
}
