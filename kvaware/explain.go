// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/janitor"
)

const explainPath = "/kv_aware/explain"

// acquaintance is what a policy knows from the last request it routed: whom to
// ask when it is to explain where another one would go.
type acquaintance struct{ last atomic.Pointer[met] }

type met struct {
	janitor   *janitor.Handler
	addresses []string // of the upstreams that were available
}

// meet notes who was there. It allocates only when that has changed.
func (a *acquaintance) meet(j *janitor.Handler, targets []routing.Candidate) {
	last := a.last.Load()
	if last != nil && last.janitor == j && slices.EqualFunc(last.addresses, targets, func(address string, t routing.Candidate) bool { return address == t.Address }) {
		return
	}
	m := &met{janitor: j, addresses: make([]string, len(targets))}
	for i, t := range targets {
		m.addresses[i] = t.Address
	}
	a.last.Store(m)
}

// explanation is where a policy would send a request now, and why.
type explanation struct {
	Upstream     string             `json:"upstream,omitempty"`
	Reason       string             `json:"reason"`
	PromptTokens int                `json:"prompt_tokens"` // as estimated
	Findings     int                `json:"findings"`      // that the janitor would replace
	Upstreams    []upstreamForecast `json:"upstreams"`     // soonest first
}

type upstreamForecast struct {
	Address      string  `json:"address"`
	CachedTokens int     `json:"cached_tokens"`
	WaitMS       float64 `json:"wait_ms"`    // until the prefill queued there is done
	PrefillMS    float64 `json:"prefill_ms"` // of what is not cached
	TTFTMS       float64 `json:"ttft_ms"`    // both
	Requests     int     `json:"requests"`   // it is busy with
}

// serveExplain takes the body of a request as clients send it and tells, for
// each policy, where it would go. Nothing is sent, reserved or recorded.
func serveExplain(s *shared, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return apiError(http.StatusMethodNotAllowed, "this path takes POST")
	}
	path := cmp.Or(r.URL.Query().Get("path"), "/v1/chat/completions")
	if !strings.HasPrefix(path, "/") {
		return apiError(http.StatusBadRequest, "path takes a path such as /v1/chat/completions")
	}
	policies := s.experienced()
	switch {
	case len(policies) == 0:
		return apiError(http.StatusConflict, "no kv_aware policy has routed a request yet: there are no upstreams to tell about")
	case len(policies) > 1:
		return apiError(http.StatusConflict, "the config has several kv_aware policies: explain is for one")
	}
	asked := r.Clone(r.Context())
	asked.URL.Path = path
	answer, err := policies[0].explain(w, asked, r.URL.Query().Get("tenant"))
	if err != nil {
		if refused, ok := err.(caddyhttp.HandlerError); ok {
			return caddy.APIError{HTTPStatus: refused.StatusCode, Err: refused.Err}
		}
		return err
	}
	return writeJSON(w, answer)
}

// explain tells where the request would go.
func (p *Policy) explain(w http.ResponseWriter, r *http.Request, tenant string) (*explanation, error) {
	m := p.met.last.Load()
	answer := &explanation{Reason: string(routing.Fallback), Upstreams: []upstreamForecast{}}
	err := m.janitor.Examine(w, r, func(x *janitor.Exchange) {
		answer.Findings = x.Findings()
		signing := p.shared.signing.Load()
		signed, request, ok := p.sign(x, p.tenantNamed(tenant, signing.key), signing)
		if !ok {
			return // the fallback would take it
		}
		targets := make([]routing.Candidate, len(m.addresses))
		for i, address := range m.addresses {
			targets[i].Address = address
		}
		prompt := stagingPrompt(x.Model(), &signed)
		offloads, _ := p.stager.Consult(&prompt, targets, nil)
		kept := slices.ContainsFunc(offloads, func(o routing.Offload) bool { return o.Storage > 0 })
		forecasts, d := request.Explain(targets)
		answer.PromptTokens = request.Tokens()
		if d.Pick >= 0 && (d.Reason != routing.Cold || kept || !p.coldFallback) {
			answer.Upstream, answer.Reason = m.addresses[d.Pick], string(d.Reason)
		}
		for _, f := range forecasts {
			answer.Upstreams = append(answer.Upstreams, upstreamForecast{
				Address:      f.Address,
				CachedTokens: f.Cached,
				WaitMS:       f.Wait.Seconds() * 1000,
				PrefillMS:    f.Prefill.Seconds() * 1000,
				TTFTMS:       (f.Wait + f.Prefill).Seconds() * 1000,
				Requests:     f.InFlight,
			})
		}
		slices.SortStableFunc(answer.Upstreams, func(a, b upstreamForecast) int { return cmp.Compare(a.TTFTMS, b.TTFTMS) })
	})
	return answer, err
}

// enlist notes a policy of a config; dismiss takes it back.
func (s *shared) enlist(p *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies[p] = struct{}{}
}

func (s *shared) dismiss(p *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.policies, p)
	p.sight.gone.Store(true)
	s.following.dismiss(p)
	s.engines.dismiss(p)
}

// experienced returns the policies that have routed a request.
func (s *shared) experienced() (all []*Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.policies {
		if p.met.last.Load() != nil {
			all = append(all, p)
		}
	}
	return all
}
